package conn

import "strings"

// Language is one in which a server's replies can be given to people.
type Language struct {
	Tag  string // RFC 5646
	Name string // in the language itself
}

// English and Vietnamese are the languages there are; replies are written in English first.
var (
	English    = &Language{Tag: "en", Name: "English"}
	Vietnamese = &Language{Tag: "vi", Name: "Tiếng Việt"}
	Languages  = []*Language{English, Vietnamese}
)

// FindLanguage finds the language of a range by looking it up (RFC 4647 §3.4): "vi-VN" is "vi"
// where there is nothing better. nil when there is none.
func FindLanguage(tag string) *Language {
	tag = strings.ToLower(tag)
	for {
		for _, l := range Languages {
			if l.Tag == tag {
				return l
			}
		}
		i := strings.LastIndexByte(tag, '-')
		if i < 0 {
			return nil
		}
		// A single letter or digit announces an extension, and goes with it.
		if tag = tag[:i]; len(tag) >= 2 && tag[len(tag)-2] == '-' {
			tag = tag[:len(tag)-2]
		}
	}
}

// Translate returns a reply in the language: from the protocol's own table of Vietnamese texts, from
// that of the texts that all protocols have, or as it is.
func (l *Language) Translate(own map[string]string, text string) string {
	if l != Vietnamese {
		return text
	}
	if t, ok := own[text]; ok {
		return t
	}
	if t, ok := shared[text]; ok {
		return t
	}
	return text
}

// Translated reports whether a text that is the same in all protocols has a translation.
func Translated(text string) bool { return shared[text] != "" }

// shared are the Vietnamese texts that more than one protocol has.
var shared = map[string]string{
	"Logged in":                                          "Đã đăng nhập",
	"Unknown command":                                    "Lệnh không rõ",
	"Command line too long":                              "Dòng lệnh quá dài",
	"Invalid user name or password":                      "Sai tên hoặc mật khẩu",
	"Log-in needs TLS":                                   "Cần TLS để đăng nhập",
	"Unknown authentication mechanism":                   "Không có cách đăng nhập này",
	"Malformed authentication exchange":                  "Trao đổi đăng nhập sai",
	"Authentication was cancelled":                       "Đã hủy đăng nhập",
	"Invalid base64":                                     "Sai base64",
	"Too many log-ins at once, try again":                "Quá nhiều người đăng nhập, xin thử lại",
	"Too many failed log-ins, try again later":           "Đăng nhập sai quá nhiều lần, xin thử lại sau",
	"Too many sessions of this account":                  "Tài khoản này có quá nhiều phiên",
	"Too many commands without log-in":                   "Quá nhiều lệnh khi chưa đăng nhập",
	"TLS is active already, or not available":            "TLS đã bật hoặc không có",
	"Log-in was revoked":                                 "Phiên đăng nhập đã bị hủy",
	"Server is shutting down, please connect again":      "Máy chủ đang dừng, xin kết nối lại",
	"Server has no room at the moment, try again later":  "Máy chủ tạm hết chỗ, xin thử lại sau",
	"Stored mail is damaged, the administrator was told": "Thư đã lưu bị hỏng, người quản trị đã được báo",
	"Internal error, the administrator was told":         "Lỗi bên trong, người quản trị đã được báo",
}
