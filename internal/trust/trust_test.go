package trust

import (
	"os"
	"path/filepath"
	"testing"
)

// An answer counts for what was asked: another file, another word or another directory is another question.
func TestQuestion_Remember(t *testing.T) {
	t.Parallel()
	dir, state := t.TempDir(), t.TempDir()
	env := func(name string) string { return map[string]string{"STATELATCH_STATE_DIR": state}[name] }
	file := filepath.Join(dir, "f")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(dir, says string) Question {
		q, err := Of(env, dir, []string{says}, []string{file, filepath.Join(dir, "none"), dir})
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	write("a")
	asked := ask(dir, "x")
	if asked.Answered() {
		t.Fatal("it was never asked")
	}
	if err := asked.Remember(); err != nil {
		t.Fatal(err)
	}
	answered.Delete(asked.name) // another process
	if !ask(dir, "x").Answered() {
		t.Error("the answer was forgotten")
	}
	if ask(dir, "y").Answered() || ask(state, "x").Answered() {
		t.Error("the answer counts for another question")
	}
	write("b")
	if ask(dir, "x").Answered() {
		t.Error("the answer counts for another file")
	}
	q, err := Of(func(string) string { return "" }, dir, []string{"z"}, nil)
	if err != nil || q.file == "" && q.Remember() == nil {
		t.Errorf("got %v, want that there is nowhere to keep it", err)
	}
	if q.Settle(); !q.Answered() {
		t.Error("what is settled is asked again")
	}
}
