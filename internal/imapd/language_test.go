package imapd

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"tram/internal/conn"
)

// spoken finds the texts that a file says to clients: those of NO and BAD, in whatever way they are
// made, of OK with a text of its own, and of untagged status responses.
func spoken(t *testing.T, path string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	say := func(e ast.Expr) {
		l, ok := e.(*ast.BasicLit)
		if !ok || l.Kind != token.STRING {
			return
		}
		text, err := strconv.Unquote(l.Value)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			name, ok := n.Type.(*ast.Ident)
			if ok && name.Name == "no" && len(n.Elts) == 2 {
				say(n.Elts[1])
			}
			for _, e := range n.Elts {
				kv, ok := e.(*ast.KeyValueExpr)
				if key, is := keyName(kv, ok); is && key == "Text" {
					say(kv.Value)
				}
			}
		case *ast.CallExpr:
			f, ok := n.Fun.(*ast.SelectorExpr)
			if !ok || len(n.Args) == 0 {
				return true
			}
			switch f.Sel.Name {
			case "Bad":
				say(n.Args[0])
			case "bye", "tagged", "noUpdate", "translate":
				say(n.Args[len(n.Args)-1])
			case "untagged":
				say(n.Args[0])
			}
		case *ast.AssignStmt:
			left, ok := n.Lhs[0].(*ast.SelectorExpr)
			if ok && left.Sel.Name == "text" && len(n.Rhs) == 1 {
				say(n.Rhs[0])
			}
		}
		return true
	})
	return texts
}

func keyName(kv *ast.KeyValueExpr, ok bool) (string, bool) {
	if !ok {
		return "", false
	}
	name, ok := kv.Key.(*ast.Ident)
	if !ok {
		return "", false
	}
	return name.Name, true
}

// TestEveryTextIsTranslated finds texts without a Vietnamese version, in this package and in the
// grammar: they belong into languagetexts.go.
func TestEveryTextIsTranslated(t *testing.T) {
	t.Parallel()
	s := &session{person: person{lang: conn.Vietnamese}}
	checked := 0
	for _, pattern := range []string{"*.go", "../imap/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") || strings.HasSuffix(file, "response.go") {
				continue
			}
			for _, text := range spoken(t, file) {
				if !translatable(text) {
					continue
				}
				checked++
				if said := sayInVietnamese(s, text); said == text {
					t.Errorf("%s: %q has no translation", file, text)
				}
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d texts were found", checked)
	}
}

// translatable leaves out what is no text: data, and what consists of others.
func translatable(text string) bool {
	word, rest, ok := strings.Cut(text, " ")
	if ok && statusWords[word] {
		return strings.ContainsFunc(strings.TrimLeft(rest, "%s"), unicode.IsLetter)
	}
	return ok && unicode.IsLetter(rune(text[0])) && word != strings.ToUpper(word) || strings.Contains(text, " is ")
}

// sayInVietnamese translates a text as the session does, with something in the places for it.
func sayInVietnamese(s *session, text string) string {
	if word, _, ok := strings.Cut(text, " "); ok && statusWords[word] {
		return s.translateFormat(text)
	}
	text = strings.TrimSuffix(text, "%s") // where in the line it is
	text = strings.NewReplacer("%q", `"x"`, "%d", "17").Replace(text)
	if rest, ok := strings.CutPrefix(text, "Expected "); ok && strings.ContainsFunc(rest, unicode.IsLower) {
		if t, found := inVietnamese(rest); !found && rest != `"x"` {
			return text
		} else if found {
			return t
		}
	}
	return s.translate(text)
}

// TestTranslations looks at the table: what a response may not hold (RFC 5255 §3.5) and verbs.
func TestTranslations(t *testing.T) {
	t.Parallel()
	for text, to := range vietnamese {
		bad := strings.IndexFunc(to, unicode.IsControl) >= 0 || !utf8.ValidString(to) ||
			strings.HasPrefix(to, "[") || strings.Count(text, "%") != strings.Count(to, "%")
		if bad || to == "" {
			t.Errorf("%q: %q", text, to)
		}
		if conn.Translated(text) {
			t.Errorf("%q is among the texts of all protocols, too", text)
		}
	}
	s := &session{person: person{lang: conn.Vietnamese}}
	for text, want := range map[string]string{
		"SELECT completed":                                          "Đã xong lệnh SELECT",
		"Expected a space at column 12":                             "Cần dấu cách ở cột 12",
		"Expected '(' at column 3":                                  "Cần '(' ở cột 3",
		"Unexpected argument at column 8":                           "Tham số thừa ở cột 8",
		"Expected a date like 1-Feb-2026":                           "Cần ngày dạng 1-Feb-2026",
		"Malformed line: line too long":                             "Dòng lệnh sai: line too long",
		"Expected a tag before the end of the command":              "Cần nhãn lệnh trước khi hết lệnh",
		"Non-synchronizing literals are limited to 4096 bytes here": "Chuỗi nguyên văn không chờ chỉ được tới 4096 byte",
		"Something new":                                             "Something new",
	} {
		if got := s.translate(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for format, want := range map[string]string{
		"OK [UIDNEXT %d] Predicted next UID": "OK [UIDNEXT %d] UID kế tiếp",
		"OK [%s] Moved":                      "OK [%s] Đã chuyển",
		"BYE Logging out":                    "BYE Tạm biệt",
		"BYE %s%s":                           "BYE %s%s",
		"%d EXISTS":                          "%d EXISTS",
		"OK":                                 "OK",
	} {
		if got := s.translateFormat(format); got != want {
			t.Errorf("%q: %q, want %q", format, got, want)
		}
	}
}
