package spam

import (
	"tram/internal/spam/content"
)

// The names of this room's signs. Others come from the rooms content and scan.
const (
	signAllowed         = "ALLOWED"
	signDenied          = "DENIED"
	signUnproved        = "ALLOWED_UNPROVED"
	signKnown           = "CORRESPONDENT"
	signGoodName        = "GOOD_REPUTE"
	signBadName         = "BAD_REPUTE"
	signOwnGood         = "GOOD_REPUTE_HERE"
	signOwnBad          = "BAD_REPUTE_HERE"
	signWordsBad        = "WORDS_BAD"
	signWordsGood       = "WORDS_GOOD"
	signListed          = "LISTED"
	signListedDomain    = "LISTED_DOMAIN"
	signVouched         = "VOUCHED"
	signNoReverse       = "NO_REVERSE_NAME"
	signDialUp          = "DIAL_UP_NAME"
	signHELOFalse       = "HELO_FALSE"
	signHELOLiteral     = "HELO_LITERAL"
	signHELOBare        = "HELO_BARE"
	signDMARCPass       = "DMARC_PASS"
	signDMARCFail       = "DMARC_FAIL"
	signDMARCQuarantine = "DMARC_QUARANTINE"
	signDMARCReject     = "DMARC_REJECT"
	signARC             = "ARC_TRUSTED"
	signSPFFail         = "SPF_FAIL"
	signSPFSoftFail     = "SPF_SOFTFAIL"
	signSPFWide         = "SPF_WIDE"
	signDKIM            = "DKIM_VALID"
	signDKIMBroken      = "DKIM_BROKEN"
	signNoAuth          = "UNVOUCHED"
	signReplay          = "DKIM_REPLAY"
	signBomb            = "LIST_BOMB"
)

// KeywordBomb marks the mail of a list bomb, so that all of it can be selected at once.
const KeywordBomb = "$ListBomb"

// sentences say what each sign means.
var sentences = map[string][2]string{
	signAllowed: {"You, or your administrator, have allowed this sender",
		"Bạn hoặc quản trị viên đã cho phép người gửi này"},
	signDenied: {"You, or your administrator, have refused this sender",
		"Bạn hoặc quản trị viên đã chặn người gửi này"},
	signUnproved: {"The sender is on an allow list, but nothing proves that the message is from him",
		"Người gửi có trong danh sách cho phép, nhưng không có gì chứng minh thư là của người đó"},
	signKnown: {"You have written to this sender before", "Bạn đã từng viết thư cho người gửi này"},
	signGoodName: {"Mail from this source was wanted in the past",
		"Trước đây thư từ nguồn này là thư mong muốn"},
	signBadName: {"Mail from this source was spam in the past", "Trước đây thư từ nguồn này là thư rác"},
	signOwnGood: {"Mail from this sender was wanted here in the past",
		"Trước đây thư của người gửi này ở đây là thư mong muốn"},
	signOwnBad: {"Mail from this sender was spam here in the past",
		"Trước đây thư của người gửi này ở đây là thư rác"},
	signWordsBad:  {"Its words are those of spam", "Từ ngữ trong thư giống thư rác"},
	signWordsGood: {"Its words are those of mail that you keep", "Từ ngữ trong thư giống thư bạn thường giữ lại"},
	signListed: {"The sending address is on a public list of spam sources",
		"Địa chỉ máy gửi nằm trong danh sách công khai các nguồn thư rác"},
	signListedDomain: {"A domain in the message is on a public list of bad domains",
		"Một tên miền trong thư nằm trong danh sách công khai các tên miền xấu"},
	signVouched: {"The sending address is on a public list of good senders",
		"Địa chỉ máy gửi nằm trong danh sách công khai các nguồn gửi tốt"},
	signNoReverse: {"The sending address has no name that leads back to it",
		"Địa chỉ máy gửi không có tên ngược hợp lệ"},
	signDialUp: {"The sending address has a name such as customers' lines have, not mail servers",
		"Tên của địa chỉ máy gửi giống đường truyền thuê bao, không giống máy chủ thư"},
	signHELOFalse: {"The sending server gave a name that is not its own",
		"Máy gửi tự xưng bằng một cái tên không phải của nó"},
	signHELOLiteral: {"The sending server gave its address instead of a name",
		"Máy gửi tự xưng bằng địa chỉ thay vì tên"},
	signHELOBare: {"The sending server gave a name without a domain", "Máy gửi tự xưng bằng tên không có tên miền"},
	signDMARCPass: {"The author's domain vouches for the message (DMARC)",
		"Tên miền của tác giả xác nhận thư này (DMARC)"},
	signDMARCFail: {"The author's domain does not vouch for the message (DMARC)",
		"Tên miền của tác giả không xác nhận thư này (DMARC)"},
	signDMARCQuarantine: {"The author's domain asks that such mail be treated as suspicious (DMARC)",
		"Tên miền của tác giả yêu cầu coi thư như thế này là đáng ngờ (DMARC)"},
	signDMARCReject: {"The author's domain asks that such mail be refused (DMARC)",
		"Tên miền của tác giả yêu cầu từ chối thư như thế này (DMARC)"},
	signARC: {"The message was changed on its way by a forwarder that is trusted (ARC)",
		"Thư đã bị thay đổi trên đường đi bởi một nơi chuyển tiếp đáng tin (ARC)"},
	signSPFFail: {"The sending server may not use this sender's name (SPF)",
		"Máy gửi không được phép dùng tên của người gửi này (SPF)"},
	signSPFSoftFail: {"The sending server probably may not use this sender's name (SPF)",
		"Máy gửi có lẽ không được phép dùng tên của người gửi này (SPF)"},
	signSPFWide: {"The sender's domain lets nearly anybody use its name (SPF)",
		"Tên miền của người gửi cho phép gần như ai cũng dùng được tên của nó (SPF)"},
	signDKIM: {"The message has a valid signature (DKIM)", "Thư có chữ ký hợp lệ (DKIM)"},
	signDKIMBroken: {"The message has a signature that does not fit (DKIM)",
		"Thư có chữ ký không khớp (DKIM)"},
	signNoAuth: {"Nobody vouches for the sender", "Không ai xác nhận người gửi"},
	signReplay: {"A signed message is sent again to very many people",
		"Một thư có chữ ký bị gửi lại cho rất nhiều người"},
	signBomb: {"Very many places write to you at once: somebody has signed you up",
		"Rất nhiều nơi cùng lúc gửi thư cho bạn: có kẻ đã đăng ký tên bạn khắp nơi"},
}

// The languages of explanations.
const (
	English    = "en"
	Vietnamese = "vi"
)

// Sentence says what a sign means, "" for a name that this room does not know. Those of the filters
// outside this server are such.
func Sentence(id, language string) string {
	n := 0
	if language == Vietnamese {
		n = 1
	}
	if s, ok := sentences[id]; ok {
		return s[n]
	}
	for _, e := range content.Table {
		if e.Name == id {
			return [2]string{e.English, e.Vietnamese}[n]
		}
	}
	return ""
}
