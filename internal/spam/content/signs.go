package content

import "tram/internal/spam/sign"

// Entry is a row of the table of signs.
type Entry struct {
	Name       string
	Score      float64
	English    string
	Vietnamese string
}

// Table lists every sign that this room can find, in the order of the documentation. Scores are such that
// five make junk: one lie about who or what somebody is weighs three or more, an oddity that honest
// programs have, too, weighs one or less.
var Table = []Entry{
	{"NO_DATE", 1, "The message does not say when it was written", "Thư không ghi ngày viết"},
	{"DATE_AHEAD", 1.5, "The message is dated in the future", "Ngày ghi trên thư nằm ở tương lai"},
	{"DATE_LONG_AGO", 0.8, "The message is dated long before it was sent",
		"Ngày ghi trên thư cũ hơn nhiều so với lúc gửi"},
	{"NO_MESSAGE_ID", 0.5, "The message has no identifier, as mail programs give it",
		"Thư không có mã nhận dạng mà chương trình thư vẫn tạo"},
	{"NO_SUBJECT", 0.3, "The message has no subject", "Thư không có chủ đề"},
	{"RECEIVED_ODD", 0.5, "What the message says of its way here cannot be", "Đường đi ghi trong thư là không thể có"},
	{"HEADER_ODD", 0.7, "The header is not built as mail programs build it",
		"Phần đầu thư không đúng như chương trình thư tạo ra"},
	{"MIME_AMBIGUOUS", 1.5, "The message is built so that programs read it differently",
		"Thư được dựng để mỗi chương trình đọc một khác"},
	{"PARTIAL_MESSAGE", 3, "The message is a piece of another, so that nobody can check the whole",
		"Thư chỉ là một mảnh của thư khác nên không ai kiểm tra được toàn bộ"},
	{"HIDDEN_RECIPIENTS", 0.5, "The message does not say to whom it was sent", "Thư không ghi người nhận"},
	{"MANY_RECIPIENTS", 0.5, "The message is addressed to very many people", "Thư gửi cho rất nhiều người"},
	{"EMPTY_WITH_FILE", 1, "There is an attachment and not a word about it", "Có tệp đính kèm mà không có lời nào"},
	{"PICTURE_ONLY", 1, "The message is a picture with hardly a word", "Thư chỉ là hình ảnh, hầu như không có chữ"},
	{"ALTERNATIVES_DIFFER", 1.2, "The plain text says something else than the formatted text",
		"Bản chữ thường và bản có định dạng nói hai điều khác nhau"},
	{"TEXT_ENCODED", 0.5, "Plain letters are encoded for no reason", "Chữ thường được mã hóa không lý do"},
	{"CHARSET_ODD", 0.8, "The text is in a character set that is not used in mail",
		"Chữ dùng bảng mã không ai dùng trong thư"},
	{"NUL_BYTES", 1, "The message contains zero bytes", "Thư chứa các byte số không"},

	{"HIDDEN_TEXT", 1.5, "Much of the text is hidden from the reader", "Nhiều chữ được giấu khỏi mắt người đọc"},
	{"ZERO_WIDTH", 1.5, "Words are broken up by invisible characters", "Từ ngữ bị chia cắt bằng ký tự vô hình"},
	{"MIXED_SCRIPTS", 1.5, "Letters of several alphabets are mixed within words",
		"Chữ cái của nhiều bảng chữ trộn trong một từ"},
	{"COMMENT_STUFFING", 1, "The message is stuffed with comments that nobody sees",
		"Thư nhồi đầy chú thích không ai thấy"},
	{"FORM", 1.5, "The message contains a form to fill in", "Thư chứa biểu mẫu để điền"},
	{"SCRIPT", 2, "The message contains a script", "Thư chứa mã lệnh"},

	{"LINK_DIFFERS", 2.5, "A link shows one address and leads to another",
		"Một liên kết hiện địa chỉ này nhưng dẫn đến địa chỉ khác"},
	{"LINK_NUMERIC", 2, "A link leads to a number instead of a name", "Một liên kết dẫn đến con số thay vì tên miền"},
	{"LINK_USER", 2.5, "A link begins with a name that is not the site it leads to",
		"Một liên kết mở đầu bằng tên không phải trang nó dẫn đến"},
	{"LINK_HOMOGRAPH", 2.5, "A link's name is written in letters that look like others",
		"Tên trong liên kết viết bằng chữ trông giống chữ khác"},
	{"LINK_SHORTENED", 0.6, "A link hides where it leads behind a shortener",
		"Một liên kết rút gọn giấu nơi nó dẫn đến"},
	{"LINK_REDIRECTED", 0.8, "A link leads through another site", "Một liên kết dẫn vòng qua trang khác"},
	{"LINK_SCRIPT", 3, "A link runs a script or carries a page within it",
		"Một liên kết chạy mã lệnh hoặc mang cả trang bên trong"},
	{"LINK_PORT", 0.7, "A link leads to an unusual port", "Một liên kết dẫn đến cổng khác thường"},
	{"LINK_ESCAPED", 2, "A link's name is written in escapes", "Tên trong liên kết được viết bằng mã thoát"},

	{"SENDER_LOOKS_OWN", 4, "The sender's domain imitates one of this server's",
		"Tên miền người gửi nhái tên miền của máy chủ này"},
	{"SENDER_OTHER_ENDING", 1.5, "The sender's domain is one of this server's with another ending",
		"Tên miền người gửi là tên miền của máy chủ này với phần đuôi khác"},
	{"SENDER_LOOKS_KNOWN", 3, "The sender's domain imitates one that you write to",
		"Tên miền người gửi nhái tên miền mà bạn vẫn thư từ"},
	{"LINK_LOOKS_OWN", 3, "A link's domain imitates one of this server's",
		"Tên miền trong liên kết nhái tên miền của máy chủ này"},
	{"LINK_OTHER_ENDING", 1, "A link's domain is one of this server's with another ending",
		"Tên miền trong liên kết là tên miền của máy chủ này với phần đuôi khác"},
	{"LINK_LOOKS_KNOWN", 2, "A link's domain imitates one that you write to",
		"Tên miền trong liên kết nhái tên miền mà bạn vẫn thư từ"},

	{"FROM_SEVERAL", 2.5, "The message claims to be from several senders", "Thư xưng là của nhiều người gửi khác nơi"},
	{"NAME_ADDRESS", 2.5, "The sender's name is an address, and not the sender's",
		"Tên người gửi là một địa chỉ không phải của người đó"},
	{"NAME_OWN_PERSON", 3, "The sender bears the name of one of your people, from elsewhere",
		"Người gửi mang tên một người của bạn nhưng gửi từ nơi khác"},
	{"NAME_OWN_DOMAIN", 2.5, "The sender's name contains your domain, and the address is another's",
		"Tên người gửi chứa tên miền của bạn nhưng địa chỉ là nơi khác"},
	{"NAME_DIRECTION", 3, "The sender's name turns the direction of writing",
		"Tên người gửi chứa ký tự đảo chiều viết"},
	{"NAME_INVISIBLE", 2, "The sender's name contains invisible characters", "Tên người gửi chứa ký tự vô hình"},
	{"NAME_SCRIPTS", 2.5, "The sender's name mixes letters that look alike",
		"Tên người gửi trộn các chữ trông giống nhau"},
	{"NAME_LONG", 2, "The sender's name is so long that it hides the address",
		"Tên người gửi dài đến mức che mất địa chỉ"},
	{"NAME_ENCODED", 2, "The sender's name is encoded to deceive", "Tên người gửi được mã hóa để đánh lừa"},
	{"ADDRESS_HOMOGRAPH", 3, "The sender's domain is written in letters that look like others",
		"Tên miền người gửi viết bằng chữ trông giống chữ khác"},

	{"FILE_PROGRAM", 6, "An attachment is a program", "Tệp đính kèm là chương trình"},
	{"FILE_RUNS", 5, "An attachment runs when it is opened", "Tệp đính kèm tự chạy khi mở"},
	{"FILE_DISK", 4, "An attachment is the image of a disk", "Tệp đính kèm là ảnh đĩa"},
	{"FILE_DOUBLE_NAME", 3, "An attachment pretends by its name to be a document",
		"Tệp đính kèm mang tên giả làm tài liệu"},
	{"FILE_NAME_DIRECTION", 4, "The name of an attachment turns the direction of writing",
		"Tên tệp đính kèm chứa ký tự đảo chiều viết"},
	{"FILE_TYPE_FALSE", 2, "An attachment is not what its name says", "Tệp đính kèm không đúng loại như tên nó"},
	{"FILE_MACRO", 2.5, "A document contains programs", "Tài liệu chứa chương trình (macro)"},
	{"FILE_LOADS", 3, "A document loads another one from elsewhere", "Tài liệu tự tải tài liệu khác từ nơi khác"},
	{"FILE_DDE", 4, "A document starts programs", "Tài liệu khởi chạy chương trình"},
	{"FILE_EMBEDDED", 1.5, "A document contains another file", "Tài liệu chứa tệp khác bên trong"},
	{"FILE_SCRIPT", 2.5, "A document or page that is attached contains a script",
		"Tài liệu hoặc trang đính kèm chứa mã lệnh"},
	{"FILE_FORM", 2.5, "A page that is attached contains a form to fill in", "Trang đính kèm chứa biểu mẫu để điền"},
	{"FILE_LEADS", 1.5, "A page that is attached leads elsewhere by itself", "Trang đính kèm tự dẫn đến nơi khác"},
	{"FILE_ENCRYPTED", 1, "An attachment cannot be checked because it is encrypted",
		"Tệp đính kèm bị mã hóa nên không kiểm tra được"},
	{"FILE_PASSWORD", 3, "The password of an encrypted attachment is in the message",
		"Mật khẩu của tệp mã hóa nằm ngay trong thư"},
	{"FILE_NESTED", 1, "There are archives within archives", "Có tệp nén trong tệp nén"},
	{"FILE_CONTRADICTS", 4, "An attachment is built so that programs read it differently",
		"Tệp đính kèm được dựng để mỗi chương trình đọc một khác"},
	{"FILE_UNSCANNABLE", 2, "An attachment could not be looked into", "Không thể xem bên trong tệp đính kèm"},
	{"FILE_UUENCODED", 1, "A file stands in the text in an encoding that is out of use",
		"Tệp nằm trong chữ bằng kiểu mã hóa không còn dùng"},
}

// scores are the scores of Table by name.
var scores = func() map[string]float64 {
	m := make(map[string]float64, len(Table))
	for _, e := range Table {
		m[e.Name] = e.Score
	}
	return m
}()

// add notes a sign. One name counts once; what was seen first is what is told.
func (x *examination) add(name, detail string) { x.rep.Signs = addSign(x.rep.Signs, name, detail) }

// addSign appends a sign of the table unless it is there.
func addSign(signs []sign.Sign, name, detail string) []sign.Sign {
	for i := range signs {
		if signs[i].Name == name {
			return signs
		}
	}
	return append(signs, sign.Sign{Name: name, Score: scores[name], Detail: clean(detail, 200)})
}
