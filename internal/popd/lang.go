package popd

import "strings"

// language is one in which replies are given.
type language struct {
	tag, name string // RFC 5646 tag, its own name
	texts     map[string]string
}

var english = language{tag: "en", name: "English"}

var vietnamese = language{tag: "vi", name: "Tiếng Việt", texts: map[string]string{
	"Language changed":                                   "Đã đổi ngôn ngữ",
	"Language list follows":                              "Danh sách ngôn ngữ",
	"Capability list follows":                            "Danh sách tính năng",
	"Mechanisms follow":                                  "Danh sách cách đăng nhập",
	"Done":                                               "Xong",
	"Begin TLS negotiation":                              "Bắt đầu TLS",
	"UTF8 enabled":                                       "Đã bật UTF8",
	"Password, please":                                   "Xin cho biết mật khẩu",
	"Logged in":                                          "Đã đăng nhập",
	"Goodbye":                                            "Tạm biệt",
	"Message deleted":                                    "Đã xóa thư",
	"%d messages":                                        "%d thư",
	"%d octets":                                          "%d byte",
	"Unknown command":                                    "Lệnh không rõ",
	"Wrong arguments":                                    "Tham số sai",
	"Malformed command line":                             "Dòng lệnh sai",
	"Command line too long":                              "Dòng lệnh quá dài",
	"Command is not possible now":                        "Lúc này không dùng được lệnh này",
	"USER comes first":                                   "Cần lệnh USER trước",
	"No such message":                                    "Không có thư này",
	"No such language":                                   "Không có ngôn ngữ này",
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
	"Deleted messages were not removed":                  "Các thư bị xóa vẫn còn",
	"The command took too long":                          "Lệnh chạy quá lâu",
	"Stored mail is damaged, the administrator was told": "Thư đã lưu bị hỏng, người quản trị đã được báo",
	"Internal error, the administrator was told":         "Lỗi bên trong, người quản trị đã được báo",
}}

// languages are those there are, the server's own first.
var languages = []*language{&english, &vietnamese}

// findLanguage finds a language by the longest tag that fits (RFC 4647 §3.4), "*" or "i-default"
// being the server's own; nil when there is none.
func findLanguage(tag string) *language {
	tag = strings.ToLower(tag)
	if tag == "*" || tag == "i-default" {
		return &english
	}
	for {
		for _, l := range languages {
			if l.tag == tag {
				return l
			}
		}
		i := strings.LastIndexByte(tag, '-')
		if i < 0 {
			return nil
		}
		tag = tag[:i]
	}
}

// translate returns a text in the language, or as it is. Outside of ASCII a client must have asked
// for the language, and RFC 6856 §5 lets it be UTF-8 then.
func (l *language) translate(text string) string {
	if t, ok := l.texts[text]; ok {
		return t
	}
	return text
}
