package conn

import "testing"

// TestFindLanguage is RFC 4647 §3.4.
func TestFindLanguage(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]*Language{
		"en": English, "VI": Vietnamese, "vi-VN": Vietnamese, "en-a-bb-x-c": English,
		"vi-x-y": Vietnamese, "fr": nil, "": nil, "-": nil, "v": nil, "*": nil, "vie": nil,
	} {
		if got := FindLanguage(tag); got != want {
			t.Errorf("%q: %v", tag, got)
		}
	}
	for in, want := range map[string]string{
		"Logged in": "Đã đăng nhập", "Done": "Xong", "No such text": "No such text",
	} {
		if got := Vietnamese.Translate(map[string]string{"Done": "Xong"}, in); got != want {
			t.Errorf("%q: %q", in, got)
		}
		if got := English.Translate(nil, in); got != in {
			t.Errorf("%q: %q in English", in, got)
		}
	}
}
