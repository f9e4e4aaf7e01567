package resources_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/resources"
)

// The keys of instances are spelled as the engines spell them, so that an address that one prints is found by the
// other.
func TestAddress_KeysAsEnginesWriteThem(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"":                    `""`,
		"plain":               `"plain"`,
		`a"b\c`:               `"a\"b\\c"`,
		"${a} %{b} $c %":      `"$${a} %%{b} $c %"`,
		"$${a}":               `"$$${a}"`,
		"a\nb\rc\td":          `"a\nb\rc\td"`,
		"bell \a, esc \x1b[m": `"bell \u0007, esc \u001b[m"`,
		"del \x7f, C1 \u0085": `"del \u007f, C1 \u0085"`,
		"no-break \u00a0":     `"no-break \u00a0"`,
		"bidi \u202e":         `"bidi \u202e"`,
		"tag \U000e0041":      `"tag \U000e0041"`,
		"größe 日本 🙂":          `"größe 日本 🙂"`,
	} {
		quoted, err := json.Marshal(key)
		if err != nil {
			t.Fatal(err)
		}
		f, err := resources.Parse(strings.NewReader(fmt.Sprintf(`{"version":4,"serial":1,"lineage":"l","resources":[
			{"mode":"managed","type":"t","name":"n","provider":"p","instances":[{"index_key":%s,"attributes":{}}]}]}`, quoted)))
		if err != nil || len(f.Objects) != 1 {
			t.Fatalf("%q: %v", key, err)
		}
		if o := f.Objects[0]; o.Address != "t.n["+want+"]" || !o.Below("t.n["+want+"]") {
			t.Errorf("%q: got %s, want t.n[%s]", key, o.Address, want)
		}
	}
}
