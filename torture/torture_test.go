package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var tramBinary string

// TestMain builds the binary as `make build` does: static, without cgo.
func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "tram-torture-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	tramBinary = filepath.Join(dir, "tram")
	build := exec.Command("go", "build", "-o", tramBinary, "tram/cmd/tram")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build tram:", err)
		return 1
	}
	return m.Run()
}

// TestFaults makes the faults that are quick and that e2e does not make, in few rounds. What a
// machine cannot make is said and not counted. Times are not judged here: `make torture` does.
func TestFaults(t *testing.T) {
	t.Parallel()
	for id, rounds := range map[string]int{
		"D0": 1, "D5": 2, "D5F": 2, "D6": 2, "D9": 4, "D10": 2, "D11": 6, "D12": 3, "D13": 2, "D14": 4, "D15": 20,
		"D2L": 1, "D17": 40, "D19": 40, "O3": 1, "O4": 6, "O9": 200, "O13": 400,
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			chosen, err := choose(id)
			if err != nil {
				t.Fatal(err)
			}
			trial := newTrial(chosen[0], options{tram: tramBinary, work: t.TempDir(), rounds: rounds, patient: true})
			trial.run(t.Context())
			t.Log(trial.line())
			for _, missed := range trial.Missed {
				t.Error(missed)
			}
			if trial.Missing == "" && trial.Done == 0 {
				t.Error("no round was made")
			}
		})
	}
}

// TestSaysWhatIsNotMade: every fault of the two families is made here or listed with a reason.
func TestSaysWhatIsNotMade(t *testing.T) {
	t.Parallel()
	made := map[string]bool{}
	for _, f := range faults() {
		if made[f.ID] || f.Run == nil || f.Name == "" || f.Target == "" || f.Rounds.Short < 1 {
			t.Errorf("fault %q is incomplete or there twice", f.ID)
		}
		made[f.ID] = true
	}
	for family, last := range map[string]int{"D": 20, "O": 16} {
		for n := 1; n <= last; n++ {
			id := fmt.Sprint(family, n)
			if made[id] == (notHere[id] != "") {
				t.Errorf("%s must be either made or listed with a reason", id)
			}
		}
	}
	if _, err := choose("D16"); err == nil || !strings.Contains(err.Error(), "JMAP") {
		t.Errorf("asked for a fault that is not made: %v", err)
	}
	if _, err := choose("D1,X9"); err == nil {
		t.Error("a fault that does not exist was chosen")
	}
}

// TestInsert puts a table into a document and leaves the rest as it was.
func TestInsert(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(path, []byte("before\n"+begin+"old\n"+end+"after\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	write := func(old string) string { return "new after " + old }
	if err := insert(path, write); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if want := "before\n" + begin + "new after old\n" + end + "after\n"; err != nil || string(got) != want {
		t.Errorf("the document is %q, %v", got, err)
	}
	if err := os.WriteFile(path, []byte("no marks\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := insert(path, write); err == nil {
		t.Error("a document without marks was accepted")
	}
}

// TestFragment: a fault that was made again has its new row, another keeps the old one.
func TestFragment(t *testing.T) {
	t.Parallel()
	first := &Trial{Fault: killAtRandom, Done: 5, Compared: true, Acked: 100}
	other := &Trial{Fault: drain, Done: 7}
	old := fragment([]*Trial{first, other}, options{}, "")
	again := &Trial{Fault: killAtRandom, Done: 6, Compared: true, Acked: 200, Lost: 1, Missed: []string{"one is lost"}}
	got := fragment([]*Trial{again}, options{}, old)
	for _, row := range []string{again.row(), other.row(), "| D16 | not yet there"} {
		if strings.Count(got, row) != 1 {
			t.Errorf("%q is not there once in\n%s", row, got)
		}
	}
	if strings.Contains(got, first.row()) || !strings.Contains(again.row(), "| 200 | 1 | 0 | 0 |  | MISSED |") {
		t.Errorf("the old row is still there, or the new one is wrong: %s", again.row())
	}
}
