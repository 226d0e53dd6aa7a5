package main

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"tram/internal/message"
	spamwords "tram/internal/spam/words"
)

// A genre is a sort of Vietnamese message: subjects, openings, sentences and closings with slots in braces.
type genre struct {
	name      string
	junk      bool
	from      []string
	subjects  []string
	sentences []string
}

// genres are written for this benchmark. Good ones use the words of junk on purpose: banks write of loans,
// shops of discounts, schools of money to be transferred.
var genres = []genre{
	{"business", false,
		lines(`{name} <{user}@{company}.example>`, `Phòng kế toán <ketoan@{company}.example>`),
		lines(`Báo cáo tuần {n}`, `Re: Hợp đồng số {n}/HĐ-{year}`, `Lịch họp {weekday}`, `Fwd: Biên bản nghiệm thu đợt {n}`,
			`Gửi anh bảng giá cập nhật`, `Re: Re: Tiến độ dự án {place}`, `Xin phê duyệt thanh toán`),
		lines(`Em gửi anh file báo cáo như đã trao đổi, anh xem giúp em nhé.`, `Cuộc họp chuyển sang {time} {weekday} ở phòng {n}.`,
			`Bên {company} đã ký hợp đồng, chiều nay em cho người mang bản gốc qua.`, `Nhờ chị kiểm tra lại đơn giá mục {n}, hình như lệch {amount}.`,
			`Khách hàng ở {place} đề nghị lùi tiến độ thêm {n} ngày.`, `Hoá đơn tháng này tổng cộng {amount}, hạn thanh toán {date}.`,
			`Anh duyệt giúp em khoản tạm ứng {amount} để kịp chuyển cho nhà thầu.`, `Số liệu quý này tốt hơn cùng kỳ {n} phần trăm.`,
			`Ngân hàng {bank} báo hồ sơ vay vốn lưu động đã được duyệt hạn mức.`, `Em đã cập nhật tài liệu lên máy chủ chung của phòng.`,
			`Nếu cần thêm thông tin anh gọi em số {phone}.`, `Đính kèm là biên bản có chữ ký hai bên.`)},
	{"school", false,
		lines(`Cô {name} <{user}@truong{place2}.example>`, `Văn phòng khoa <giaovu@daihoc{place2}.example>`),
		lines(`Thông báo họp phụ huynh`, `Lịch thi học kỳ {n}`, `Kết quả học tập của con`, `Nộp học phí đợt {n}`, `Nhắc nộp bài tập lớn`),
		lines(`Nhà trường kính mời phụ huynh lớp {n}A họp lúc {time} {weekday}.`, `Học phí đợt này là {amount}, phụ huynh chuyển khoản trước {date}.`,
			`Các em nhớ mang theo sách giáo khoa và đồ dùng vẽ.`, `Tuần tới lớp đi tham quan bảo tàng ở {place}.`,
			`Bài tập lớn nộp qua thư, ghi rõ họ tên và mã số sinh viên.`, `Điểm giữa kỳ đã có, em nào thắc mắc gặp thầy sau giờ học.`,
			`Con hôm nay hơi sốt, gia đình đón sớm giúp cô.`, `Danh sách nhận học bổng dán ở bảng tin tầng {n}.`,
			`Thư viện mở cửa đến {time} các ngày trong tuần.`)},
	{"family", false,
		lines(`{name} <{user}@hopthu.example>`, `Mẹ <{user}@nhaminh.example>`, `{user}@hopthu.example`),
		lines(`Cuối tuần này về quê không?`, `Ảnh cưới em {name}`, `Re: vé tàu Tết`, `hỏi thăm`, `Giỗ ông nội`),
		lines(`Mẹ khoẻ, con đừng lo, nhớ ăn uống đầy đủ.`, `Cuối tuần này cả nhà ăn cơm ở nhà bác {name} nhé.`, `Con đặt vé tàu ra {place} ngày {date} rồi.`,
			`Bố mới trồng thêm mấy cây bưởi, sang năm có quả.`, `Anh chuyển cho em {amount} tiền thuốc của bà rồi đấy.`, `Ảnh hôm cưới em gửi kèm, chị xem cười đau bụng.`,
			`Hôm nào rảnh gọi điện cho bà, bà nhắc suốt.`, `Cháu được giấy khen, cả nhà mừng lắm.`, `Dạo này công việc ở công ty thế nào?`,
			`Trời {place} lạnh rồi, mặc ấm vào.`, `Em trúng tuyển đại học rồi anh ơi, vui quá!`)},
	{"orders", false,
		lines(`Cửa hàng {shop} <donhang@{shop}.example>`, `{shop} <khuyenmai@{shop}.example>`),
		lines(`Xác nhận đơn hàng #{id}`, `Đơn hàng #{id} đang được giao`, `Ưu đãi tháng {n} dành cho khách quen`, `Hoá đơn điện tử số {id}`),
		lines(`Cảm ơn bạn đã đặt hàng tại {shop}.`, `Đơn hàng {id} gồm {n} sản phẩm, tổng tiền {amount}.`, `Dự kiến giao ngày {date}, nhân viên sẽ gọi số {phone}.`,
			`Theo dõi đơn hàng tại https://{shop}.example/don/{id}`, `Giảm giá {n}0% cho sách và đồ gia dụng đến hết {date}.`,
			`Bạn nhận thư này vì đã đăng ký tài khoản ở {shop}.`, `Hoá đơn điện tử được gửi kèm dưới dạng tệp PDF.`, `Miễn phí vận chuyển cho đơn từ {amount}.`,
			`Đổi trả trong vòng 7 ngày nếu sản phẩm bị lỗi.`, `Để ngừng nhận tin khuyến mãi, mời bấm vào đây.`)},
	{"bank", false,
		lines(`{bank} <thongbao@{bank}.example>`, `Cổng dịch vụ <no-reply@dichvu{place2}.example>`),
		lines(`Mã OTP của quý khách`, `Biến động số dư tài khoản`, `Sao kê thẻ tháng {n}`, `Thông báo đăng nhập mới`, `Hoá đơn tiền điện kỳ {n}`),
		lines(`Mã xác thực OTP của quý khách là {id}, có hiệu lực trong {n} phút. Không cung cấp mã này cho bất kỳ ai.`,
			`Tài khoản {account} ghi có {amount} lúc {time} ngày {date}.`, `Số dư hiện tại: {amount}.`, `Sao kê thẻ tín dụng kỳ này: tổng dư nợ {amount}, hạn thanh toán {date}.`,
			`Lãi suất tiết kiệm kỳ hạn {n} tháng được áp dụng từ {date}.`, `{bank} không bao giờ yêu cầu quý khách cung cấp mật khẩu qua thư.`,
			`Khoản vay mua nhà của quý khách đến kỳ trả lãi ngày {date}.`, `Nếu không phải quý khách đăng nhập, vui lòng gọi tổng đài ngay.`,
			`Tiền điện kỳ này {amount}, khách hàng vui lòng thanh toán trước {date}.`)},
	{"loans", true,
		lines(`Vay Nhanh 24h <hotro@vay{id}.example>`, `Tư vấn tài chính <{user}@taichinh{n}.example>`, `{name} <{user}@hopthu.example>`),
		lines(`Vay tiền nhanh không cần thế chấp`, `Duyệt vay {amount} trong {n} phút`, `Bạn đã được duyệt khoản vay`, `Giải ngân ngay hôm nay`, `Nợ xấu vẫn vay được`),
		lines(`Vay tiền nhanh chỉ cần căn cước, không thế chấp, không thẩm định.`, `Giải ngân {amount} về tài khoản trong {n} phút.`, `Nợ xấu, nợ nhóm 5 vẫn hỗ trợ vay.`,
			`Lãi suất chỉ từ 0% cho khách hàng mới.`, `Liên hệ Zalo {phone} để được tư vấn miễn phí.`, `Bấm vào https://vay-{id}.{tld}/dk để nhận tiền ngay.`,
			`Hạn mức lên đến {amount}, trả góp {n} tháng.`, `Không cần chứng minh thu nhập, bao đậu hồ sơ.`, `Cơ hội cuối cùng, chỉ còn {n} suất trong hôm nay!`)},
	{"gambling", true,
		lines(`Nhà cái {brand} <cskh@{brand}{n}.{tld}>`, `{brand} VIP <{user}@{brand}.{tld}>`),
		lines(`Tặng {amount} cho thành viên mới`, `Nạp đầu thưởng 100%`, `Nổ hũ {amount} đêm nay`, `Tài khoản VIP của bạn đã kích hoạt`, `Kèo thơm hôm nay`),
		lines(`Đăng ký nhận ngay {amount} tiền cược miễn phí.`, `Nạp lần đầu thưởng 100%, hoàn trả mỗi ngày không giới hạn.`, `Tài xỉu, nổ hũ, bắn cá, lô đề tỷ lệ ăn cao nhất.`,
			`Nhà cái uy tín {brand}, rút tiền trong {n} phút.`, `Truy cập https://{brand}{n}.{tld} nhập mã {id}.`, `Soi kèo bóng đá chuẩn xác, ăn chắc {n}0%.`,
			`Hũ hiện tại đã lên {amount}, quay là trúng.`, `Đại lý hoa hồng cao, thu nhập {amount} mỗi tháng.`, `Zalo {phone} để nhận link vào không bị chặn.`)},
	{"invoices", true,
		lines(`Phòng kế toán <ketoan@{company}-{id}.{tld}>`, `Cục thuế <thongbao@thue-{id}.{tld}>`, `{bank} <baomat@{bank}-{n}.{tld}>`),
		lines(`Hoá đơn quá hạn {id}`, `KHẨN: tài khoản của bạn sẽ bị khoá`, `Thông báo truy thu thuế`, `Xác nhận giao dịch {amount}`, `Bưu kiện của bạn bị giữ lại`),
		lines(`Tài khoản của quý khách sẽ bị khoá trong 24 giờ nếu không xác minh.`, `Bấm vào https://{bank}-xacminh.{tld}/{id} và nhập mã OTP để mở khoá.`,
			`Hoá đơn {id} quá hạn, mở tệp đính kèm để xem chi tiết và thanh toán ngay.`, `Hệ thống ghi nhận giao dịch lạ {amount}, xác nhận ngay để không bị trừ tiền.`,
			`Quý khách bị truy thu thuế {amount}, nộp trước {time} hôm nay.`, `Bưu kiện bị giữ tại hải quan, đóng phí {amount} tại https://buukien{n}.{tld}.`,
			`Vui lòng cung cấp mật khẩu và số thẻ để được hoàn tiền.`, `Đây là thông báo cuối cùng trước khi chuyển hồ sơ cho công an.`,
			`Mật khẩu tệp nén: {n}{n}.`)},
	{"jobs", true,
		lines(`Tuyển dụng <hr@viec{id}.{tld}>`, `{name} <{user}@hopthu.example>`),
		lines(`Việc nhẹ lương cao tại nhà`, `Tuyển cộng tác viên chốt đơn`, `Kiếm {amount} mỗi ngày`, `Cơ hội đầu tư sinh lời`, `Chúc mừng bạn đã trúng thưởng`),
		lines(`Việc nhẹ lương cao, làm tại nhà, chỉ cần điện thoại.`, `Thu nhập {amount} mỗi ngày, trả lương ngay sau khi xong việc.`, `Cộng tác viên chốt đơn sàn thương mại, hoa hồng {n}0%.`,
			`Đặt cọc {amount} để nhận nhiệm vụ, hoàn lại gấp đôi.`, `Kết bạn Telegram hoặc Zalo {phone} để nhận việc.`, `Đầu tư tiền ảo lãi {n}% một ngày, bảo toàn vốn.`,
			`Chúc mừng số điện thoại của bạn đã trúng thưởng xe máy trị giá {amount}.`, `Làm hồ sơ nhận thưởng, đóng phí {amount} tại https://nhanthuong{n}.{tld}.`,
			`Không cần kinh nghiệm, không cần bằng cấp, tuyển gấp {n} người.`)},
}

func lines(s ...string) []string { return s }

// fillers stand in messages of both sorts.
var fillers = lines(`Xin chào {name},`, `Kính gửi quý khách,`, `Chào bạn,`, `Trân trọng cảm ơn.`, `Chúc bạn một ngày tốt lành.`, `Thân mến,`,
	`Mọi thắc mắc xin liên hệ số {phone}.`, `Thư này được gửi lúc {time} ngày {date}.`, `Rất mong sớm nhận được phản hồi.`, `Thông tin chi tiết xem bên dưới.`)

var slots = map[string][]string{
	"name": lines("Minh", "Hương", "Tuấn", "Lan", "Đức", "Thảo", "Quang", "Ngọc", "Hải", "Yến", "Sơn", "Phượng",
		"Long", "Trang", "Khánh", "Vy"),
	"company": lines("anphat", "saoviet", "hoabinh", "dongtam", "thanhcong", "bachviet", "tienphong", "minhquan"),
	"shop":    lines("sachhay", "nhabep", "vuonxanh", "giaytot", "dienmay", "traicay"),
	"bank":    lines("nganhanga", "nganhangb", "nganhangc", "tindung"),
	"brand":   lines("win", "lucky", "vip", "bet", "club", "hit", "sun"),
	"tld":     lines("top", "xyz", "vip", "click", "shop", "site", "example"),
	"place":   lines("Huế", "Đà Nẵng", "Cần Thơ", "Hà Nội", "Nam Định", "Vinh", "Biên Hoà", "Đà Lạt"),
	"place2":  lines("hue", "danang", "cantho", "hanoi", "vinh", "dalat"),
	"weekday": lines("thứ hai", "thứ ba", "thứ tư", "thứ năm", "thứ sáu", "chủ nhật"),
}

// fillSlots fills the slots of a text.
func fillSlots(rnd *rand.Rand, s string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		var slot string
		slot, s, _ = strings.Cut(rest, "}")
		b.WriteString(slotValue(rnd, slot))
	}
}

func slotValue(rnd *rand.Rand, slot string) string {
	switch slot {
	case "n":
		return fmt.Sprint(1 + rnd.IntN(30))
	case "id":
		return fmt.Sprint(10000 + rnd.IntN(90000))
	case "user":
		return fmt.Sprintf("u%d", rnd.IntN(3000))
	case "year":
		return fmt.Sprint(2020 + rnd.IntN(7))
	case "time":
		return fmt.Sprintf("%d:%02d", 7+rnd.IntN(14), 5*rnd.IntN(12))
	case "date":
		return fmt.Sprintf("%02d/%02d/2026", 1+rnd.IntN(28), 1+rnd.IntN(12))
	case "phone":
		return fmt.Sprintf("09%08d", rnd.IntN(100_000_000))
	case "account":
		return fmt.Sprintf("xxx%04d", rnd.IntN(10000))
	case "amount":
		return pick(rnd, lines(fmt.Sprintf("%d.000.000đ", 1+rnd.IntN(90)), fmt.Sprintf("%d triệu", 1+rnd.IntN(900)),
			fmt.Sprintf("%d00k", 1+rnd.IntN(9)),
			fmt.Sprintf("%d.%d00.000 VND", 1+rnd.IntN(50), rnd.IntN(10))))
	}
	return pick(rnd, slots[slot])
}

func pick(rnd *rand.Rand, list []string) string { return list[rnd.IntN(len(list))] }

// vietnameseMail makes n messages, three of ten of them junk. One in four of junk is disguised, one in
// three has no marks; of the good ones one in eight has none, as people write on telephones.
func vietnameseMail(seed uint64, n int) []mail {
	rnd := rand.New(rand.NewPCG(seed, 11))
	var good, junk []genre
	for _, g := range genres {
		if g.junk {
			junk = append(junk, g)
		} else {
			good = append(good, g)
		}
	}
	all := make([]mail, n)
	for i := range all {
		list, bare, masked := good, rnd.IntN(8) == 0, false
		isJunk := rnd.IntN(10) < 3
		if isJunk {
			list, bare, masked = junk, rnd.IntN(3) == 0, rnd.IntN(4) == 0
		}
		g := list[rnd.IntN(len(list))]
		t := spamwords.Text{From: fillSlots(rnd, pick(rnd, g.from)), To: "Bạn đọc",
			Subject: fillSlots(rnd, pick(rnd, g.subjects))}
		var b strings.Builder
		for range 2 + rnd.IntN(5) {
			from := g.sentences
			switch f := rnd.IntN(10); {
			case f < 3:
				from = fillers
			case f == 3 && !isJunk: // good mail quotes and speaks of anything
				from = genres[rnd.IntN(len(genres))].sentences
			case f == 3: // junk hides behind the sentences of good mail
				from = good[rnd.IntN(len(good))].sentences
			}
			b.WriteString(fillSlots(rnd, pick(rnd, from)) + "\n")
		}
		t.Body = b.String()
		if bare {
			t.Subject, t.Body = withoutMarks(t.Subject), withoutMarks(t.Body)
		}
		if masked {
			t.Subject, t.Body = disguise(rnd, t.Subject), disguise(rnd, t.Body)
		}
		all[i] = mail{text: t, junk: isJunk, group: g.name}
	}
	return all
}

func withoutMarks(s string) string {
	return string(message.Fold(nil, []byte(s), true))
}

// disguise writes some words of a text so that programs should not know them.
func disguise(rnd *rand.Rand, s string) string {
	fields := strings.Split(s, " ")
	way := rnd.IntN(4)
	for i, w := range fields {
		if rnd.IntN(2) == 0 || len(w) < 3 || strings.Contains(w, "://") {
			continue
		}
		switch way {
		case 0: // characters that are not seen
			at := []rune(w)
			fields[i] = string(at[:1]) + "\u200b" + string(at[1:])
		case 1: // digits for letters
			fields[i] = strings.NewReplacer("o", "0", "i", "1", "e", "3", "a", "4").Replace(w)
		case 2: // Cyrillic letters
			fields[i] = strings.NewReplacer("o", "о", "a", "а", "e", "е", "c", "с", "p", "р").Replace(w)
		case 3: // letters apart
			fields[i] = strings.Join(strings.Split(w, ""), " ")
		}
	}
	return strings.Join(fields, " ")
}
