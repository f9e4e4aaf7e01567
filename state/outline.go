package state

import (
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/lazyre"
)

const (
	// maxDepth bounds nesting; the engines' own reader stops at 10,000.
	maxDepth = 10_000
	// maxScalar bounds a number; the engines' have a few digits.
	maxScalar = 1 << 10
	// newestFormat is the newest format of states that any engine reads, formatWithoutLineage the last whose states
	// need no lineage.
	newestFormat         = 4
	formatWithoutLineage = 2
	// encryptionFormat is the only encryption_version that OpenTofu has had.
	encryptionFormat = "v0"
)

// members are the top-level keys that decide something here.
var members = [...]string{
	"version", "terraform_version", "serial", "lineage", "encryption_version", "encrypted_data", "resources", "outputs",
	"modules",
	"backend", "state_store", "format_version",
}

const maxMember = len("encryption_version")

// wanted is what the grammar of JSON allows next, blanks apart.
type wanted byte

const (
	wantObject   wanted = iota // the body itself
	wantValue                  // behind a colon, or a comma of an array
	wantElement                // behind '[': a value or ']'
	wantFirstKey               // behind '{': a key or '}'
	wantKey                    // behind a comma of an object
	wantColon                  // behind a key
	wantComma                  // behind a value: a comma, or the end of what it is in
	wantNothing                // behind the body
)

// outline checks a JSON object as its bytes pass by, and follows its top level and that of its modules. It keeps no
// string: an encrypted state is one of them. A cut or damaged file must not become a state.
type outline struct {
	shape
	offset int64
	want   wanted
	open   []byte // the brackets that are open
	text   bool   // inside a string
	escape int    // inside an escape sequence: 1 behind the backslash, 2 to 5 before a digit of \u
	isKey  bool   // that string is a key
	scalar []byte // a number or literal that has begun
	opened bool   // a container in the value of key has just begun
	number bool   // inside the value of the top level's "serial"
	key    []byte // of the top level
	inner  []byte // of a module
	seen   [len(members)]byte
	twice  string
	excess bool
	wrong  string // the first thing that is no JSON
	tail   []byte // of a character that the last write cut
	noUTF8 bool
}

func (o *outline) write(p []byte) {
	o.characters(p)
	for len(p) > 0 && o.wrong == "" {
		// Most of a state is text that decides nothing.
		if n := o.skippable(p); n > 0 {
			o.offset += int64(n)
			p = p[n:]
			continue
		}
		if what := o.next(p[0]); what != "" {
			o.wrong = fmt.Sprintf("%s (at byte %d)", what, o.offset+1)
		}
		o.offset++
		p = p[1:]
	}
	o.offset += int64(len(p))
}

// characters checks the encoding.
func (o *outline) characters(p []byte) {
	for len(o.tail) > 0 && len(p) > 0 && !utf8.FullRune(o.tail) {
		o.tail, p = append(o.tail, p[0]), p[1:]
	}
	if len(o.tail) > 0 && utf8.FullRune(o.tail) {
		o.noUTF8 = o.noUTF8 || !utf8.Valid(o.tail)
		o.tail = o.tail[:0]
	}
	if len(o.tail) > 0 {
		return
	}
	end := len(p)
	for back := 1; back < utf8.UTFMax && back <= len(p); back++ {
		if c := p[len(p)-back]; utf8.RuneStart(c) {
			if !utf8.FullRune(p[len(p)-back:]) {
				end = len(p) - back
			}
			break
		}
	}
	o.noUTF8 = o.noUTF8 || !utf8.Valid(p[:end])
	o.tail = append(o.tail, p[end:]...)
}

// skippable is how many bytes at the start of p are inside a string and end nothing.
func (o *outline) skippable(p []byte) int {
	if !o.text || o.escape > 0 || o.isKey {
		return 0
	}
	for i, c := range p {
		if c == '"' || c == '\\' || c < ' ' {
			return i
		}
	}
	return len(p)
}

// next takes one byte; what it returns is wrong with it.
func (o *outline) next(c byte) string {
	if o.text {
		return o.inText(c)
	}
	if o.scalar != nil && (isBlank(c) || c == ',' || c == '}' || c == ']') {
		if o.number {
			o.number, o.serialEnd = false, o.offset
		}
		if !json.Valid(o.scalar) {
			return "a value is malformed"
		}
		o.scalar, o.want = nil, o.behindValue()
	}
	switch {
	case isBlank(c):
		return ""
	case o.want == wantNothing:
		o.excess = true
		return ""
	}
	if o.opened {
		o.opened = false
		o.contents(c)
	}
	switch c {
	case '"':
		return o.startText()
	case ':':
		if o.want != wantColon {
			return "a colon is out of place"
		}
		o.want = wantValue
	case ',':
		if o.want != wantComma || len(o.open) == 0 {
			return "a comma is out of place"
		}
		o.want = wantValue
		if o.open[len(o.open)-1] == '{' {
			o.want = wantKey
		}
	case '{', '[':
		return o.start(c)
	case '}', ']':
		return o.end(c)
	default:
		return o.inScalar(c)
	}
	return ""
}

func (o *outline) inText(c byte) string {
	switch {
	case o.escape == 1 && c == 'u':
		o.escape = 2
	case o.escape == 1 && !slices.Contains([]byte(`"\/bfnrt`), c):
		return "an escape sequence is malformed"
	case o.escape == 1:
		o.escape = 0
	case o.escape > 1:
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return "an escape sequence is malformed"
		}
		o.escape = (o.escape + 1) % 6
	case c == '\\':
		o.escape = 1
	case c == '"':
		o.text = false
		o.want = o.behindValue()
		if o.isKey {
			o.want = wantColon
		}
		return ""
	case c < ' ':
		return "a control character stands in a string"
	}
	if o.isKey {
		if key := o.keyHere(); key != nil && len(*key) <= maxMember {
			*key = append(*key, c)
		}
	}
	return ""
}

func (o *outline) startText() string {
	switch o.want {
	case wantKey, wantFirstKey:
		o.isKey = true
		if key := o.keyHere(); key != nil {
			*key = (*key)[:0]
		}
	case wantValue, wantElement:
		o.isKey = false
		o.meet('"')
	default:
		return "a string is out of place"
	}
	o.text = true
	return ""
}

// keyHere is where a key of the object that is open is kept; nil: nowhere.
func (o *outline) keyHere() *[]byte {
	switch {
	case len(o.open) == 1:
		return &o.key
	case len(o.open) == 3 && string(o.key) == "modules":
		return &o.inner
	}
	return nil
}

func (o *outline) start(c byte) string {
	switch {
	case o.want == wantObject && c == '{', o.want == wantValue, o.want == wantElement:
	default:
		return "a bracket is out of place"
	}
	if len(o.open) == maxDepth {
		return "it is nested too deeply"
	}
	o.meet(c)
	o.open = append(o.open, c)
	o.opened = true
	o.want = wantElement
	if c == '{' {
		o.want = wantFirstKey
	}
	return ""
}

func (o *outline) end(c byte) string {
	// '{' and '}', '[' and ']' are two apart in ASCII.
	if len(o.open) == 0 || o.open[len(o.open)-1] != c-2 {
		return "brackets do not match"
	}
	if o.want != wantComma && o.want != wantFirstKey && o.want != wantElement {
		return "a value is missing"
	}
	o.open = o.open[:len(o.open)-1]
	o.want = o.behindValue()
	return ""
}

func (o *outline) inScalar(c byte) string {
	if o.scalar == nil {
		if o.want != wantValue && o.want != wantElement {
			return "a value is out of place"
		}
		o.meet(c)
		if len(o.open) == 1 && string(o.key) == "serial" && o.serialAt == 0 {
			o.number, o.serialAt = true, o.offset
		}
	}
	if o.scalar = append(o.scalar, c); len(o.scalar) > maxScalar {
		return "a number is too long"
	}
	return ""
}

func (o *outline) behindValue() wanted {
	if len(o.open) == 0 {
		return wantNothing
	}
	return wantComma
}

// meet notes how the value of a top-level member begins. The engines take the last of two, other readers the first.
func (o *outline) meet(c byte) {
	if len(o.open) != 1 {
		return
	}
	if i := slices.Index(members[:], string(o.key)); i >= 0 {
		if o.seen[i] != 0 {
			o.twice = members[i]
		}
		o.seen[i] = c
	}
}

// has is how the value of a top-level member begins; 0: there is none.
func (o *outline) has(member string) byte { return o.seen[slices.Index(members[:], member)] }

// contents notes that a container is not empty: of the top level in format 4, of a module in older ones.
func (o *outline) contents(c byte) {
	name := ""
	switch len(o.open) {
	case 2:
		name = string(o.key)
	case 4:
		if string(o.key) == "modules" {
			name = string(o.inner)
		}
	}
	if c == ']' || c == '}' {
		return
	}
	o.resources = o.resources || name == "resources"
	o.outputs = o.outputs || name == "outputs"
}

// whole reports what keeps the body from being one JSON object.
func (o *outline) whole() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w state: %s", statelatch.ErrInvalid, fmt.Sprintf(format, args...))
	}
	switch {
	case o.wrong != "":
		return bad("%s", o.wrong)
	case o.want != wantNothing:
		return bad("it ends in the middle of the JSON object, after %d bytes: is the file whole?", o.offset)
	case o.excess:
		return bad("something follows the JSON object")
	case o.twice != "":
		return bad("the key %s appears twice", o.twice)
	}
	return nil
}

// known names a file of the engines that is no state, and is often taken for one.
func (o *outline) known() string {
	switch {
	case o.has("format_version") != 0:
		return "what 'terraform show -json' prints, not a state: 'terraform state pull' and 'statelatch pull' print the state"
	case (o.has("backend") == '{' || o.has("state_store") == '{') && o.has("modules") == 0 && o.has("resources") == 0:
		return "the backend file of a working directory (.terraform/terraform.tfstate), which names the backend and " +
			"holds no state: " +
			"'terraform state pull' and 'statelatch pull' print the state"
	}
	return ""
}

var engineVersion = lazyre.New(`^v?[0-9]+(\.[0-9]+)*`)

// unfit says why no engine would take the body for a state, which has the header h and is whole.
func (o *outline) unfit(h statelatch.StateHeader) error {
	what, known := "", o.known()
	begins := func(member string, allowed ...byte) bool {
		return slices.Contains(append(allowed, 0, 'n'), o.has(member))
	}
	switch {
	case o.noUTF8 || len(o.tail) > 0:
		what = "it is not encoded in UTF-8, so an engine would change it as it reads it"
	case h.Encrypted() && o.has("encrypted_data") != '"':
		what = "it says that it is encrypted, and has no encrypted_data"
	case h.Encrypted():
		return nil
	case known != "":
		what = "it is " + known
	case h.Version < newestFormat && o.has("modules") != '[':
		what = fmt.Sprintf("its format is %d, and it has no modules, as every state of that format has", h.Version)
	case h.Version == newestFormat && !begins("resources", '['):
		what = "its resources are no list"
	case h.Version == newestFormat && !begins("outputs", '{'):
		what = "its outputs are no object"
	case h.TerraformVersion != "" && !engineVersion.MatchString(h.TerraformVersion):
		what = fmt.Sprintf("its terraform_version, %q, is no version", h.TerraformVersion)
	default:
		return nil
	}
	return fmt.Errorf("%w state: %s", statelatch.ErrInvalid, what)
}
