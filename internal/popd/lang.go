package popd

import (
	"strings"

	"tram/internal/conn"
)

// vietnamese are the replies that only POP3 has, see conn.Language. Outside of ASCII a client must
// have asked for the language, and RFC 6856 §3.2 lets the texts be UTF-8 then.
var vietnamese = map[string]string{
	"Language changed":                  "Đã đổi ngôn ngữ",
	"Language list follows":             "Danh sách ngôn ngữ",
	"Capability list follows":           "Danh sách tính năng",
	"Mechanisms follow":                 "Danh sách cách đăng nhập",
	"Done":                              "Xong",
	"Begin TLS negotiation":             "Bắt đầu TLS",
	"UTF8 enabled":                      "Đã bật UTF8",
	"Password, please":                  "Xin cho biết mật khẩu",
	"Goodbye":                           "Tạm biệt",
	"Message deleted":                   "Đã xóa thư",
	"%d messages":                       "%d thư",
	"%d octets":                         "%d byte",
	"Wrong arguments":                   "Tham số sai",
	"Malformed command line":            "Dòng lệnh sai",
	"Command is not possible now":       "Lúc này không dùng được lệnh này",
	"USER comes first":                  "Cần lệnh USER trước",
	"No such message":                   "Không có thư này",
	"No such language":                  "Không có ngôn ngữ này",
	"Deleted messages were not removed": "Các thư bị xóa vẫn còn",
	"The command took too long":         "Lệnh chạy quá lâu",
}

// findLanguage finds a language, "*" and "i-default" being the server's own; nil when there is none.
func findLanguage(tag string) *conn.Language {
	if tag == "*" || strings.EqualFold(tag, "i-default") {
		return conn.English
	}
	return conn.FindLanguage(tag)
}
