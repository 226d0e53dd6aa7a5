// Package internal_test holds the rules of the house and checks them on every run: who may import
// whom, how large things may grow, what must be documented, what tests may not do.
package internal_test

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// floors lists the rooms from the ground up. A room may import rooms on lower floors, and its own
// inner rooms, only.
var floors = [][]string{
	{"clock", "limits", "metrics"}, // the ground: no room of ours below
	{"conn", "tlspolicy", "certs", "dns", "kv", "blob", "config"},
	{"message", "smtp", "imap", "sieve", "pim", "mailauth"},
	{"envelope", "textindex", "trace", "directory", "spam", "scan"},
	{"store"},
	{"deliver", "queue", "reports", "backup"},
	{"admin"},
	{"smtpd", "imapd", "popd", "sieved", "jmapd", "davd", "easd", "httpd"},
	{"server"}, // the assembly: may import everything
}

// sameFloor are the imports within one floor that the design allows, each with its reason.
var sameFloor = map[string]string{
	"blob -> kv":          "bodies live in kv by default",
	"mailauth -> message": "signatures are of header fields, and an author is an address",
	"mailauth -> smtp":    "a domain has one canonical form",
	"certs -> kv":         "ACME's storage is kv",
	"certs -> dns":        "TLSA data",
	"tlspolicy -> dns":    "policies begin in the DNS",
	"spam -> envelope":    "evidence is of a message with what is known beside its bytes",
	"scan -> envelope":    "what a filter is told about a message",
	"scan -> spam":        "what a filter says are signs; the readings of a message",
	"tlspolicy -> kv":     "MTA-STS policies are kept",
}

// neverSeen are the rooms that doors must not know: they speak to store and deliver instead.
var neverSeen = []string{"kv", "blob"}

var doors = floors[7]

type file struct {
	path string // from the module's root, slashes
	ast  *ast.File
	fset *token.FileSet
	src  []string
}

func (f file) test() bool { return strings.HasSuffix(f.path, "_test.go") }

// room is the first folder below internal, or "" for files elsewhere.
func (f file) room() string {
	parts := strings.Split(f.path, "/")
	if len(parts) < 3 || parts[0] != "internal" {
		return ""
	}
	return parts[1]
}

func goFiles(t *testing.T) []file {
	t.Helper()
	var files []file
	root := ".."
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			name := d.Name()
			if p != root && (strings.HasPrefix(name, ".") || name == "testdata" ||
				name == "node_modules" || name == "data" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		src, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, p, src, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		files = append(files, file{
			path: filepath.ToSlash(rel), ast: parsed, fset: fset,
			src: strings.Split(string(src), "\n"),
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("found %d Go files: the walk is broken", len(files))
	}
	return files
}

func floorOf(room string) int {
	return slices.IndexFunc(floors, func(f []string) bool { return slices.Contains(f, room) })
}

func TestFloors(t *testing.T) {
	t.Parallel()
	for _, f := range goFiles(t) {
		from := f.room()
		if from == "" || f.test() {
			continue
		}
		if floorOf(from) < 0 {
			t.Errorf("%s: room %q stands on no floor", f.path, from)
			continue
		}
		for _, imp := range f.ast.Imports {
			to, ours := roomOfImport(imp)
			if !ours || to == from {
				continue
			}
			checkImport(t, f.path, from, to)
		}
	}
}

func roomOfImport(imp *ast.ImportSpec) (string, bool) {
	p, err := strconv.Unquote(imp.Path.Value)
	if err != nil || !strings.HasPrefix(p, "tram/internal/") {
		return "", false
	}
	return strings.Split(strings.TrimPrefix(p, "tram/internal/"), "/")[0], true
}

func checkImport(t *testing.T, path, from, to string) {
	t.Helper()
	if floorOf(to) < 0 {
		t.Errorf("%s: imports %q, which stands on no floor", path, to)
		return
	}
	if floorOf(to) > floorOf(from) {
		t.Errorf("%s: %s imports %s from a higher floor", path, from, to)
	}
	if floorOf(to) == floorOf(from) && sameFloor[from+" -> "+to] == "" {
		t.Errorf("%s: %s imports %s on its own floor", path, from, to)
	}
	if slices.Contains(doors, from) && slices.Contains(neverSeen, to) {
		t.Errorf("%s: the door %s sees %s", path, from, to)
	}
}

// longFunctions are the functions that may exceed 120 lines, each with its reason.
var longFunctions = map[string]string{
	"internal/store/bench_test.go:BenchmarkBig": "a list of measurements on one filled store",
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for _, f := range goFiles(t) {
		if len(f.src) > 801 {
			t.Errorf("%s: %d lines, over 800", f.path, len(f.src)-1)
		}
		for i, line := range f.src {
			data := f.test() && strings.ContainsAny(line, "`\"") // a test's data may be one line
			if n := columns(line); n > 120 && !data && !strings.Contains(line, "`") {
				t.Errorf("%s:%d: %d columns, over 120", f.path, i+1, n)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			fn, ok := n.(*ast.FuncDecl)
			if !ok {
				return true
			}
			first, last := f.fset.Position(fn.Pos()).Line, f.fset.Position(fn.End()).Line
			name := f.path + ":" + fn.Name.Name
			if last-first >= 120 && longFunctions[name] == "" {
				t.Errorf("%s: %d lines, over 120", name, last-first+1)
			}
			return false
		})
	}
}

func columns(line string) int {
	n := 0
	for _, r := range line {
		if r == '\t' {
			n += 4
		} else {
			n++
		}
	}
	return n
}

func TestPackagesAreDocumented(t *testing.T) {
	t.Parallel()
	documented := map[string]bool{}
	for _, f := range goFiles(t) {
		if f.test() {
			continue
		}
		dir := filepath.Dir(f.path)
		documented[dir] = documented[dir] || f.ast.Doc != nil && len(f.ast.Doc.Text()) > 60
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s: no package comment that says what question it answers", dir)
		}
	}
}

// panics are the calls of panic that stand outside tests, each with its reason.
var panics = map[string]string{
	"internal/kv/kvtest/writes.go:panics": "the suite checks that a panic in a transaction undoes it",
}

func TestNoInitPanicOrSleep(t *testing.T) {
	t.Parallel()
	for _, f := range goFiles(t) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" {
					t.Errorf("%s: has an init function", f.path)
				}
				checkCalls(t, f, n)
				return false
			}
			return true
		})
	}
}

func checkCalls(t *testing.T, f file, fn *ast.FuncDecl) {
	t.Helper()
	ast.Inspect(fn, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		where := fmt.Sprintf("%s:%d", f.path, f.fset.Position(call.Pos()).Line)
		name := callee(call)
		switch {
		case f.test() && name == "time.Sleep":
			t.Errorf("%s: a test sleeps", where)
		case f.test() && (name == "t.Skip" || name == "t.Skipf" || name == "t.SkipNow"):
			t.Errorf("%s: a test skips", where)
		case !f.test() && name == "panic" && panics[f.path+":"+fn.Name.Name] == "":
			t.Errorf("%s: panic in %s has no reason in the list", where, fn.Name.Name)
		}
		return true
	})
}

func callee(call *ast.CallExpr) string {
	switch fun := call.Fun.(type) {
	case *ast.Ident:
		return fun.Name
	case *ast.SelectorExpr:
		if x, ok := fun.X.(*ast.Ident); ok {
			return x.Name + "." + fun.Sel.Name
		}
	}
	return ""
}

var rfcRef = regexp.MustCompile(`RFCs? ([0-9]{3,5})`)

// TestRFCs checks docs/rfc.tsv: each RFC that the code names is listed, and each that is listed as
// implemented is named in code and in a test.
func TestRFCs(t *testing.T) {
	t.Parallel()
	status := readRFCs(t)
	inCode, inTest := map[string]bool{}, map[string]bool{}
	for _, f := range goFiles(t) {
		for i, line := range f.src {
			for _, m := range rfcRef.FindAllStringSubmatch(line, -1) {
				if status[m[1]] == "" {
					t.Errorf("%s:%d: RFC %s is not in docs/rfc.tsv", f.path, i+1, m[1])
				}
				if f.test() {
					inTest[m[1]] = true
				} else {
					inCode[m[1]] = true
				}
			}
		}
	}
	for _, rfc := range transcriptRFCs(t) {
		inTest[rfc] = true
	}
	for rfc, s := range status {
		if s == "yes" && !inCode[rfc] {
			t.Errorf("docs/rfc.tsv: RFC %s is listed as implemented and no code names it", rfc)
		}
		if s == "yes" && !inTest[rfc] {
			t.Errorf("docs/rfc.tsv: RFC %s is listed as implemented and no test names it", rfc)
		}
	}
}

// transcriptRFCs lists the RFCs that dialogue tests name.
func transcriptRFCs(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*/testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("found no transcripts: %v", err)
	}
	var all []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range rfcRef.FindAllStringSubmatch(string(b), -1) {
			all = append(all, m[1])
		}
	}
	return all
}

func readRFCs(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("../docs/rfc.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	status := map[string]string{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if strings.HasPrefix(sc.Text(), "#") {
			continue
		}
		cols := strings.Split(sc.Text(), "\t")
		if len(cols) != 3 || !slices.Contains([]string{"yes", "partly", "no"}, cols[1]) {
			t.Fatalf("docs/rfc.tsv: not RFC, yes|partly|no, title: %q", sc.Text())
		}
		if status[cols[0]] != "" {
			t.Errorf("docs/rfc.tsv: RFC %s is listed twice", cols[0])
		}
		status[cols[0]] = cols[1]
	}
	return status
}
