// A stand-in for github.com/mndrix/tap-go, which Debian lacks: the calls that runtime-tools' validation makes.
package tap

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type T struct {
	TODO    bool
	n       int
	planned bool
}

func New() *T { return &T{} }
func (t *T) Header(n int) {
	fmt.Println("TAP version 13")
	if n > 0 {
		t.planned = true
		fmt.Printf("1..%d\n", n)
	}
}
func (t *T) Ok(ok bool, what string) {
	t.n++
	word := "ok"
	if !ok {
		word = "not ok"
	}
	todo := ""
	if t.TODO {
		todo = " # TODO"
	}
	fmt.Printf("%s %d - %s%s\n", word, t.n, what, todo)
}
func (t *T) Pass(what string) { t.Ok(true, what) }
func (t *T) Fail(what string) { t.Ok(false, what) }
func (t *T) Skip(n int, what string) {
	for i := 0; i < n; i++ {
		t.n++
		fmt.Printf("ok %d # SKIP %s\n", t.n, what)
	}
}
func (t *T) AutoPlan()          { if !t.planned { fmt.Printf("1..%d\n", t.n) } }
func (t *T) Diagnostic(s string) { fmt.Println("# " + strings.ReplaceAll(s, "\n", "\n# ")) }
func (t *T) Diagnosticf(f string, a ...interface{}) { t.Diagnostic(fmt.Sprintf(f, a...)) }
func (t *T) YAML(v interface{}) error {
	b, err := json.MarshalIndent(v, "  ", "  ")
	if err == nil {
		fmt.Fprintf(os.Stdout, "  ---\n  %s\n  ...\n", b)
	}
	return err
}
func (t *T) Todo() *T { c := *t; c.TODO = true; return &c }
func (t *T) Count() int { return t.n }
