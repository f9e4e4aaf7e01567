package safejson_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/statelatch/statelatch/internal/safejson"
)

func TestMarshal(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a\u009b31mb":        `"a\u009b31mb"`,
		"\u202egnp.exe":      `"\u202egnp.exe"`,
		"\u2066\u2069\u061c": `"\u2066\u2069\u061c"`,
		"\x7f\x1b[2J":        `"\u007f\u001b[2J"`,
		"\u200b\ufeff\u2028": `"\u200b\ufeff\u2028"`,
		"\U000e0041":         `"\udb40\udc41"`,
		"é 日本 <&> 😀":         `"é 日本 <&> 😀"`,
	} {
		got, err := safejson.Marshal(map[string]any{in: json.RawMessage(`"` + in[:0] + `"`), "v": in})
		if err != nil {
			t.Fatal(err)
		}
		var back map[string]string
		if err := json.Unmarshal(got, &back); err != nil || back["v"] != in {
			t.Errorf("%q: got %s (%v), which reads as %q", in, got, err, back["v"])
		}
		one, err := safejson.Marshal(in)
		if err != nil || string(one) != want {
			t.Errorf("%q: got %s (%v), want %s", in, one, err, want)
		}
	}
	raw, err := safejson.Marshal(json.RawMessage(`{"a":"` + "\u202e" + `"}`))
	if err != nil || !reflect.DeepEqual(raw, []byte(`{"a":"\u202e"}`)) {
		t.Errorf("got %s (%v), want what was encoded before escaped, too", raw, err)
	}
}
