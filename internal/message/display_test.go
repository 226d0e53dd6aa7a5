package message

import "testing"

// TestDisplay proves reliability row M9: display tricks are warned of, and undone where they can be.
func TestDisplay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a      Address
		want   string
		tricks Tricks
	}{
		{Address{Name: "An", Mailbox: "an", Host: "x.vn"}, "An <an@x.vn>", 0},
		{Address{Mailbox: "an", Host: "x.vn"}, "an@x.vn", 0},
		{Address{Name: "Đặng Dũng", Mailbox: "d", Host: "tên-miền.vn"}, "Đặng Dũng <d@tên-miền.vn>", 0},
		{Address{Name: "an@x.vn", Mailbox: "an", Host: "X.vn"}, "an@x.vn <an@X.vn>", 0},
		{Address{Name: "boss@bank.vn", Mailbox: "e", Host: "evil.example"},
			"boss@bank.vn <e@evil.example>", TrickAddressInName},
		{Address{Name: "boss＠bank.vn", Mailbox: "e", Host: "evil.example"},
			"boss＠bank.vn <e@evil.example>", TrickAddressInName},
		{Address{Name: "a\u202env.knab@ssob", Mailbox: "e", Host: "x"}, "anv.knab@ssob <e@x>",
			TrickAddressInName | TrickDirection},
		{Address{Name: "Bo\u200bss", Mailbox: "e", Host: "x"}, "Boss <e@x>", TrickInvisible},
		{Address{Name: "Bo\x00ss", Mailbox: "e", Host: "x"}, "Bo ss <e@x>", TrickInvisible},
		{Address{Mailbox: "e", Host: "раураl.com"}, "e@xn--l-7sba6dbr.com", TrickScript},
		{Address{Mailbox: "e", Host: "аррӏе.com"}, "e@xn--80ak6aa92e.com", TrickScript},
		{Address{Mailbox: "e", Host: "gοogle.com"}, "e@xn--gogle-rce.com", TrickScript},
		{Address{Mailbox: "e", Host: "почта.рф"}, "e@почта.рф", 0},
		{Address{Mailbox: "e", Host: "日本.example"}, "e@日本.example", 0},
	} {
		if got := tt.a.Display(); got != tt.want || tt.a.Tricks() != tt.tricks {
			t.Errorf("%+v: got %q, tricks %b; want %q, %b", tt.a, got, tt.a.Tricks(), tt.want, tt.tricks)
		}
	}
}
