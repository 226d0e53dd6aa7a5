package content

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tram/internal/message"
	"tram/internal/spam/sign"
)

// house is a server with a domain, people and correspondents, as the tests here imagine it.
func house() Options {
	people := map[string]bool{}
	for _, n := range []string{"Nguyễn Thị Minh Khai", "Trần Văn Bình", "Alice Johnson", "José García"} {
		people[FoldName(n)] = true
	}
	return Options{
		Now: arrived, Own: NewDomains("tramthu.vn", "example-house.com"), Known: NewDomains("vietbank.com.vn", "microsoft.com", "paypal.com"),
		OwnNames: func(s string) bool { return people[s] },
	}
}

// from is a message with a From field as written.
func from(field string) string {
	return strings.Replace(plain("Xin chào, hẹn gặp ngày mai."), "From: a@example.com", "From: "+field, 1)
}

// word writes a name as an encoded word.
func word(s string) string { return "=?utf-8?B?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?=" }

// tricks generates the display tricks of M9: each deceives somebody about who wrote.
func tricks() []string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	const evil = "<x@evil.example>"
	for _, victim := range []string{"ceo@tramthu.vn", "support@paypal.com", "billing@bank.example.org", "a.b-c@sub.example.co.uk", "hỗtrợ@ngânhàng.vn"} {
		for _, form := range []string{"%s", "<%s>", "Boss (%s)", "%s via Mail", "Support <%s>", "  %s  ", "[%s]", "\"%s\""} {
			add("%s %s", word(fmt.Sprintf(form, victim)), evil)
			add(form+" %s", victim, evil)
		}
		for _, at := range []string{"＠", "﹫", " (at) ", " @ "} {
			add("%s %s", word(strings.Replace(victim, "@", at, 1)), evil)
		}
		add(`"%s\" %s" %s`, "x", victim, evil)
	}
	for _, c := range []string{"\u202e", "\u202d", "\u202a", "\u202b", "\u202c", "\u2066", "\u2067", "\u2068", "\u2069", "\u200e", "\u200f", "\u061c"} {
		add("%s %s", word("Alice "+c+"ecila"), evil)
		add("%s %s", word(c+"Support"), evil)
	}
	for _, c := range []string{"\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u034f", "\u180e", "\u2061", "\x00", "\x01", "\x08", "\x1b", "\x7f"} {
		add("%s %s", word("Pay"+c+"Pal"), evil)
		add("%s %s", word("Bank"+c), evil)
	}
	for _, n := range []string{
		strings.Repeat("Customer Service ", 10), "Support" + strings.Repeat(" ", 80) + ".", strings.Repeat("x", 150),
		strings.Repeat("Ngân hàng ", 20), "Bank" + strings.Repeat("\u00a0", 60) + "x", strings.Repeat("_", 200),
	} {
		add("%s %s", word(n), evil)
		add("\"%s\" %s", strings.TrimSpace(n), "<y@evil.example>")
	}
	for _, n := range []string{"Nguyễn Thị Minh Khai", "NGUYEN THI MINH KHAI", "Khai Nguyễn Thị Minh", "nguyễn-thị minh.khai", "Trần Văn Bình",
		"Tran Van Binh", "Bình, Trần Văn", "Alice Johnson", "Johnson, Alice", "ALICE  JOHNSON", "Аlice Jоhnson", "Ａｌｉｃｅ Ｊｏｈｎｓｏｎ",
		"José García", "Jose Garcia", "Trần\u00a0Văn\u00a0Bình", "Nguyễn Thị Minh Khai."} {
		add("%s %s", word(n), evil)
		add("%s %s", word(n), "<boss.tramthu@mail.example>")
	}
	for _, n := range []string{"tramthu.vn", "TramThu.VN Support", "Mail (tramthu.vn)", "IT tramthu.vn", "trаmthu.vn", "example-house.com admin"} {
		add("%s %s", word(n), evil)
	}
	add("x <tramthu.vn@evil.example>")
	add("x <it-tramthu.vn@evil.example>")
	for _, n := range []string{"Аdmin", "Miсrosoft", "РayPal Support", "Ваnk of Asia", "Gοοgle", "Αpple Inc", "Аmazоn", "ѕupport team", "Faсebook", "Тiki shop"} {
		add("%s %s", word(n), evil)
	}
	add("=?utf-8?Q?=3D=3Futf-8=3FB=3FYWRtaW4=3D=3F=3D?= %s", evil)
	add("\"=?utf-8?B?YWRtaW4=?= <ceo@tramthu.vn>\" %s", evil)
	add("=?utf-8?Q?ceo=40tramthu.vn=3E?= %s", evil)
	add("=?utf-8?Q?ceo=40other.example=0D=0ATo:_x?= %s", evil)
	add("x <=?utf-8?Q?ceo=40tramthu.vn?=@evil.example>")
	add(`"ceo@tramthu.vn"@evil.example`)
	add(`Boss <"ceo@other.example"@evil.example>`)
	for _, h := range []string{ // homographs and near copies of own and known domains
		"trаmthu.vn", "tramthυ.vn", "xn--trmthu-7nf.vn", "pаypal.com", "pаураl.com", "microsоft.com", "mісrоsoft.com",
		"trarnthu.vn", "tramthuu.vn", "trmathu.vn", "tramhtu.vn", "tranthu.vn", "tramthu.com", "tramthu.com.vn", "tramthu.net",
		"tramthu-support.vn", "secure-tramthu.com", "tram-thu.vn", "tramthulogin.com", "mytramthu.com", "tramthu.vn.evil.example",
		"tramthu-vn.evil.example", "trám-thu.vn", "trạmthu.vn", "exarnple-house.com", "example-housе.com", "examplehouse.com",
		"exmaple-house.com", "vietbannk.com.vn", "vietbamk.com.vn", "vletbank.com.vn", "v1etbank.com.vn", "vietbank-online.com",
		"vietbank.com.vn.evil.example", "secure-vietbank.com", "rnicrosoft.com", "micros0ft.com", "microsfot.com", "micorsoft.com",
		"microsoft-login.com", "paypa1.com", "paypaI.com", "paypal-secure.com", "pay-pal.com", "paypall.com", "payapl.com",
	} {
		add("Support <x@%s>", h)
	}
	return all
}

// TestDisplayTricks: each of the tricks of M9 is seen.
func TestDisplayTricks(t *testing.T) {
	t.Parallel()
	o := house()
	all := tricks()
	found := 0
	for _, f := range all {
		r := examine(t, from(f), o)
		ok := false
		for _, s := range r.Signs {
			kind, _, _ := strings.Cut(s.Name, "_")
			ok = ok || kind == "NAME" || kind == "FROM" || kind == "ADDRESS" || kind == "SENDER"
		}
		if !ok {
			t.Errorf("%q (%q): only %q", f, message.ParseAddressList(f), signsOf(r))
			continue
		}
		found++
	}
	t.Logf("%d of %d tricks are warned of", found, len(all))
	if len(all) < 200 {
		t.Errorf("only %d tricks", len(all))
	}
}

// honest are senders as they are, all over the world. None may be suspected.
const honest = `Nguyễn Văn An <an@gmail.com>
Trần Thị Bích Ngọc <ngoc.tran@fpt.com.vn>
Lê Hoàng Đức Anh <anh@vnu.edu.vn>
Phạm Quỳnh Hương <huong@yahoo.com.vn>
Hoàng Thị Ánh Nguyệt (Phòng Kế toán) <ketoan@congty.vn>
Vũ Đình Khôi - Công ty TNHH Đại Việt <khoi@daiviet.com.vn>
Đặng Thùy Trâm <tram@hospital.vn>
Bùi Xuân Phái <phai@mythuat.edu.vn>
Đỗ Nhật Nam <nam@hotmail.com>
Hồ Chí Hiếu <hieu@outlook.com>
Ngô Bảo Châu <chau@uchicago.edu>
Dương Tử Giang <giang@proton.me>
Lý Thường Kiệt <kiet@qdnd.vn>
Đinh Tiên Hoàng <hoang@ninhbinh.gov.vn>
Mai An Tiêm <tiem@duahau.vn>
Trịnh Công Sơn <son@nhac.vn>
Tô Hoài <hoai@demen.vn>
Cao Bá Quát <quat@tho.vn>
Chử Đồng Tử <tu@hungyen.vn>
Huỳnh Thúc Kháng <khang@quangnam.vn>
Phan Đăng Lưu <luu@nghean.vn>
Võ Thị Sáu <sau@baria.vn>
Tạ Quang Bửu <buu@hust.edu.vn>
Ngân hàng TMCP Á Châu <no-reply@acb.com.vn>
Bưu điện Việt Nam <cskh@vnpost.vn>
Điện lực TP.HCM <hoadon@evnhcmc.vn>
Vietnam Airlines <noreply@vietnamairlines.com>
Tiki <hello@tiki.vn>
Shopee Việt Nam <info@mail.shopee.vn>
Báo Tuổi Trẻ <toasoan@tuoitre.com.vn>
Trung tâm Tin học - ĐH KHTN <tt@hcmus.edu.vn>
"Nguyễn, Văn A" <a@example.com>
Hương ♥ <huong@zing.vn>
Tuấn @ FPT <tuan@fpt.com>
Ms. Hạnh (0903 123 456) <hanh@bds.vn>
John Smith <john@example.com>
O'Brien, Pat <pat@example.ie>
Mary-Jane Watson <mj@dailybugle.com>
Dr. Jürgen Müller <jm@uni-köln.de>
Müller & Söhne GmbH <info@mueller.de>
Zoë Straße <zoe@example.de>
François Lefèvre <f@exemple.fr>
Société Générale <contact@socgen.fr>
Łukasz Żółć <l@przyklad.pl>
Grzegorz Brzęczyszczykiewicz <g@przyklad.pl>
Jiří Dvořák <j@priklad.cz>
Åse Østergård <ase@eksempel.no>
Björk Guðmundsdóttir <bjork@daemi.is>
Çağla Şıkoğlu <c@ornek.com.tr>
İbrahim Işık <i@ornek.com.tr>
Ștefan Țăran <s@exemplu.ro>
João Conceição <joao@exemplo.com.br>
José Ñúñez <jn@ejemplo.es>
Núria Puig i Cadafalch <n@exemple.cat>
Siobhán Ní Bhriain <s@sampla.ie>
Māris Bērziņš <m@piemers.lv>
Žydrūnas Šėrikas <z@pavyzdys.lt>
Nguyen Ngoc Tuyet Mai <mai@gmail.com>
Иван Петров <ivan@пример.рф>
Мария Сидорова <maria@yandex.ru>
Олександр Шевченко <o@ukr.net>
Ђорђе Петровић <dj@primer.rs>
Васил Левски <v@abv.bg>
ООО «Ромашка» <info@romashka.ru>
Γιώργος Παπαδόπουλος <g@example.gr>
Ελένη <eleni@παράδειγμα.gr>
山田太郎 <taro@example.jp>
株式会社サンプル <info@example.co.jp>
ヤマダ・タロウ <y@example.jp>
王小明 <wang@example.cn>
陳大文 <chan@example.hk>
김철수 <kim@example.kr>
주식회사 예제 <info@example.kr>
สมชาย ใจดี <somchai@example.th>
ສົມພອນ <s@example.la>
សុខ <sok@example.kh>
अमित कुमार <amit@example.in>
ശ്രീ‍ജിത്ത് <s@example.in>
క్‌షమించు <k@example.in>
রহিম উদ্দিন <rahim@example.bd>
தமிழ்ச்செல்வன் <t@example.in>
محمد علي <m@example.ae>
علی‌رضا محمدی <a@example.ir>
دانشگاه تهران <info@ut.ac.ir>
דוד כהן <d@example.il>
בנק לאומי (Leumi) <info@leumi.co.il>
Արմեն Սարգսյան <a@example.am>
გიორგი <g@example.ge>
Abebe በቀለ <a@example.et>
👩‍💻 Dev Weekly <news@dev.to>
🎉 Fun Club 🎉 <club@fun.example>
Amazon.de <shipment@amazon.de>
booking.com <noreply@booking.com>
GitHub <notifications@github.com>
"alice (via Forum)" <forum@lists.example.org>
noreply@github.com <noreply@github.com>
info@shop.example.com <bounce@mail.shop.example.com>
no-reply <no-reply@accounts.google.com>
PayPal <service@paypal.com>
Microsoft account team <account-security-noreply@accountprotection.microsoft.com>
VietBank <ebank@vietbank.com.vn>
Nguyễn Thị Minh Khai <khai@tramthu.vn>
Trần Văn Bình <binh@mail.tramthu.vn>
Alice Johnson <alice@example-house.com>
Alice <alice@wonderland.example>
Bình <binh@gmail.com>
Support Team <support@zendesk.com>
IT Helpdesk <helpdesk@university.edu>
3M Company <info@3m.com>
7-Eleven <hi@7-eleven.com>
A. B. C. D. van der Berg-Oosterhuis <abcd@voorbeeld.nl>
The Most Honourable Society for the Improvement of Email <society@email-improvement.org>
CERN µ-Lab <mu@cern.ch>
ACME, Inc. <sales@acme.example>
=?utf-8?B?Tmd1eeG7hW4gVsSDbiBC?= <b@gmail.com>
=?iso-8859-1?Q?Andr=E9?= Pirard <pirard@vm1.ulg.ac.be>
Vietcombank <info@vietcombank.com.vn>
Gramthus <x@gramth.org>
Ám Thư <am@amthu.org>
`

// TestHonestNamesAreNotSuspected: no sign about the sender of any of them.
func TestHonestNamesAreNotSuspected(t *testing.T) {
	t.Parallel()
	o := house()
	n := 0
	for line := range strings.Lines(honest) {
		line = strings.TrimSpace(line)
		n++
		for _, f := range []string{line, encodeName(line)} {
			for _, s := range examine(t, from(f), o).Signs {
				if kind, _, _ := strings.Cut(s.Name, "_"); kind == "NAME" || kind == "FROM" || kind == "ADDRESS" || kind == "SENDER" {
					t.Errorf("%q: %+v", f, s)
				}
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d names", n)
	}
}

// encodeName writes a sender's name as mail programs do.
func encodeName(line string) string {
	i := strings.LastIndexByte(line, '<')
	if strings.HasPrefix(line, "=?") || strings.HasPrefix(line, `"`) {
		return line
	}
	return word(strings.TrimSpace(line[:i])) + " " + line[i:]
}

func TestFoldName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ a, b string }{
		{"Nguyễn Văn Đức", "duc, nguyen van"}, {"Alice Johnson", "ＪＯＨＮＳＯＮ  alice"}, {"Аlice Jоhnson", "Alice Johnson"},
		{"José\u200b García", "Garcia Jose"},
	} {
		if FoldName(c.a) != FoldName(c.b) || FoldName(c.a) == "" {
			t.Errorf("%q is %q, %q is %q", c.a, FoldName(c.a), c.b, FoldName(c.b))
		}
	}
	for _, none := range []string{"", "Alice", "!!!", "\u200b"} {
		if got := FoldName(none); got != "" {
			t.Errorf("%q is %q", none, got)
		}
	}
}

// TestLinksThatImitate: what is looked for in senders is looked for in links, for one account, too.
func TestLinksThatImitate(t *testing.T) {
	t.Parallel()
	o := house()
	r := examine(t, plain("see https://login.tramthu-support.vn/ and https://paypa1.com/ for it"), o)
	if got := signsOf(r); !slices.Contains(got, "LINK_LOOKS_OWN") || !slices.Contains(got, "LINK_LOOKS_KNOWN") {
		t.Errorf("%q", got)
	}
	r = examine(t, plain("see https://mail.tramthu.vn/ and https://www.paypal.com/ and https://google.com for it"), o)
	if got := signsOf(r); len(got) > 0 {
		t.Errorf("%q", got)
	}
	r = examine(t, plain("see https://shoppee-online.vn/ for it"), Options{})
	want := []sign.Sign{{Name: "LINK_LOOKS_KNOWN", Score: scores["LINK_LOOKS_KNOWN"], Detail: "shoppee-online.vn looks like shoppee.vn"}}
	if got := Compare(r, nil, NewDomains("shoppee.vn")); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"paypal", "paypal", 0}, {"paypal", "payapl", 1}, {"paypal", "paypall", 1}, {"paypal", "papal", 1}, {"paypal", "poypal", 1},
		{"microsoft", "micorsfot", 2}, {"abc", "xyz", 3}, {"", "abc", 3}, {strings.Repeat("a", 70), "a", 3},
	} {
		if got := distance(c.a, c.b, 2); got != c.want {
			t.Errorf("%q, %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// TestOtherEnding: our name with another ending is told, and is not called an imitation: two houses may
// have a name each. One that somebody writes to is no reason for suspicion at all.
func TestOtherEnding(t *testing.T) {
	t.Parallel()
	o := house()
	for _, c := range []struct {
		raw  string
		want string
	}{
		{from("A <a@tramthu.net>"), "SENDER_OTHER_ENDING"},
		{from("A <a@mail.tramthu.com.vn>"), "SENDER_OTHER_ENDING"},
		{plain("see https://tramthu.net/ for more of it"), "LINK_OTHER_ENDING"},
	} {
		got := signsOf(examine(t, c.raw, o))
		imitation := slices.ContainsFunc(got, func(name string) bool { return strings.Contains(name, "_LOOKS_") })
		if !slices.Contains(got, c.want) || imitation {
			t.Errorf("%.60q: %q, want %s", c.raw, got, c.want)
		}
	}
	if got := signsOf(examine(t, from("A <a@paypal.net>"), o)); slices.Contains(got, "SENDER_OTHER_ENDING") {
		t.Errorf("another ending of a name that is not ours: %q", got)
	}
}
