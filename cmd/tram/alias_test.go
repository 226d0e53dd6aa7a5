package main

import (
	"slices"
	"testing"
)

// TestTargets: where an alias leads to is given as people write it, one by one or with commas.
func TestTargets(t *testing.T) {
	t.Parallel()
	tests := []struct{ args, want []string }{
		{[]string{"a@x.test", "b@x.test"}, []string{"a@x.test", "b@x.test"}},
		{[]string{"a@x.test,b@x.test, c@x.test"}, []string{"a@x.test", "b@x.test", "c@x.test"}},
		{[]string{"a@x.test,", ",b@x.test"}, []string{"a@x.test", "b@x.test"}},
		{[]string{`"a, \", b"@x.test,c@x.test`}, []string{`"a, \", b"@x.test`, "c@x.test"}},
	}
	for _, tt := range tests {
		if got := targets(tt.args); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.args, got, tt.want)
		}
	}
}
