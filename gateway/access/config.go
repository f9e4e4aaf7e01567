package access

import (
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/iampolicy"
	"github.com/statelatch/statelatch/internal/private"
	"github.com/statelatch/statelatch/internal/treefile"
)

// How long a session may last.
const (
	DefaultSession = 12 * time.Hour   // where the file says nothing
	MinSession     = 15 * time.Minute // as on AWS
	MaxSession     = 36 * time.Hour   // as on AWS
)

// Config is what a file of rules says. It is written in HCL, of literals alone:
//
//	store           = "s3://acme-state"             # optional: where the states are
//	master_key_file = "/etc/statelatch/master.key"  # what seals sessions; a relative path is from this file's directory
//	session         = "12h"                         # optional: how long a session lasts at most
//
//	issuer "github" {                               # whose OpenID Connect tokens are taken
//	  url        = "https://token.actions.githubusercontent.com"
//	  audience   = "statelatch"                     # or a list: a token must be for one of them
//	  name_claim = "sub"                            # optional: which claim names the principal
//	}
//
//	key "ana" { file = "/etc/statelatch/keys/ana" } # a static key pair
//
//	allow "main deploys prod" {                     # see Rule and Rules
//	  issuer = "github"                             # or keys = ["ana"], names or patterns
//	  claims = { repository = "acme/infra", ref = ["refs/heads/main", "refs/tags/v*"] }
//	  states = ["prod/*"]
//	  may    = ["read", "lock", "write"]
//	}
type Config struct {
	Store         string        // s3://BUCKET[/PREFIX]; empty: the file does not say
	MasterKeyFile string        // empty: there are no sessions
	Session       time.Duration // the longest that a session lasts
	Issuers       []Issuer      // in the order of the file, as Keys and Rules are
	Keys          []KeyFile     // the static keys
	Rules         Rules         // who may do what
}

// Issuer is who signs tokens that are taken.
type Issuer struct {
	Name      string   // that principals begin with
	URL       string   // as tokens have it in iss, and where its keys are found
	Audiences []string // one of which a token must be for
	NameClaim string   // the claim that names the principal
	Line      int      // in the file, from 1
}

// KeyFile is a static key.
type KeyFile struct {
	Name string // of the principal
	File string // with the key pair
	Line int    // in the file of rules, from 1
}

// Finding is something in a file of rules that must be mended.
type Finding struct {
	File    string // as it was named
	Line    int    // from 1; 0: the file as a whole
	Message string // what is wrong, and what to write
}

// String is FILE:LINE: MESSAGE.
func (f Finding) String() string {
	if f.Line == 0 {
		return f.File + ": " + f.Message
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Message)
}

// Findings are an error, all of a file in its order. They match [statelatch.ErrInvalid].
type Findings []Finding

// Error is a line for each.
func (fs Findings) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// Is serves errors.Is.
func (fs Findings) Is(target error) bool { return target == statelatch.ErrInvalid }

// Load reads a file of rules, which nobody else may be able to write. The error is [Findings] where the file can be
// read. The files that it names are not looked at.
func Load(file string) (*Config, error) {
	if err := private.Owned(file); err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	data, err := treefile.Read(file, treefile.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	return Parse(data, file)
}

// Parse is [Load] for the content of a file.
func Parse(data []byte, file string) (*Config, error) {
	p := &parser{file: file, config: &Config{Session: DefaultSession}}
	parsed, diags := treefile.ParseHCL(data, file, hcl.InitialPos)
	p.diagnose(diags)
	if parsed != nil && !diags.HasErrors() {
		p.read(parsed.Body)
		p.judge()
	}
	if len(p.findings) > 0 {
		slices.SortStableFunc(p.findings, func(a, b Finding) int { return a.Line - b.Line })
		return nil, p.findings
	}
	return p.config, nil
}

// parser reads a file and collects what is wrong.
type parser struct {
	file     string
	config   *Config
	findings Findings
}

func (p *parser) find(line int, format string, args ...any) {
	p.findings = append(p.findings, Finding{p.file, line, fmt.Sprintf(format, args...)})
}

func (p *parser) diagnose(diags hcl.Diagnostics) {
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		line := 0
		if d.Subject != nil {
			line = d.Subject.Start.Line
		}
		p.find(line, "%s: %s", strings.TrimSuffix(d.Summary, "."), strings.Join(strings.Fields(d.Detail), " "))
	}
}

var (
	fileSchema = &hcl.BodySchema{
		Attributes: []hcl.AttributeSchema{{Name: "store"}, {Name: "master_key_file"}, {Name: "session"}},
		Blocks: []hcl.BlockHeaderSchema{
			{Type: "issuer", LabelNames: []string{"name"}},
			{Type: "key", LabelNames: []string{"name"}},
			{Type: "allow", LabelNames: []string{"title"}},
		},
	}
	blockSchemas = map[string]*hcl.BodySchema{
		"issuer": {Attributes: []hcl.AttributeSchema{{Name: "url"}, {Name: "audience"}, {Name: "name_claim"}}},
		"key":    {Attributes: []hcl.AttributeSchema{{Name: "file"}}},
		"allow": {Attributes: []hcl.AttributeSchema{
			{Name: "issuer"}, {Name: "claims"}, {Name: "keys"}, {Name: "states"}, {Name: "may"},
		}},
	}
)

func (p *parser) read(body hcl.Body) {
	content, diags := body.Content(fileSchema)
	p.diagnose(diags)
	top := attributes{p, content.Attributes}
	p.config.Store = top.text("store")
	if store := p.config.Store; top.has("store") && !strings.HasPrefix(store, "s3://") {
		p.find(top.line("store"), "store is %q: want s3://BUCKET[/PREFIX]", store)
	}
	p.config.MasterKeyFile = p.path(top.text("master_key_file"))
	if text := top.text("session"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < MinSession || d > MaxSession {
			p.find(top.line("session"), "session is %q: want a duration from %s to %s, such as \"12h\"", text,
				short(MinSession), short(MaxSession))
		}
		p.config.Session = d
	}
	for _, block := range content.Blocks {
		inner, diags := block.Body.Content(blockSchemas[block.Type])
		p.diagnose(diags)
		a, line := attributes{p, inner.Attributes}, block.DefRange.Start.Line
		switch block.Type {
		case "issuer":
			p.issuer(block.Labels[0], line, a)
		case "key":
			p.key(block.Labels[0], line, a)
		case "allow":
			p.rule(block.Labels[0], line, a)
		}
	}
}

// path is a path of the file, from its directory.
func (p *parser) path(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(p.file), name)
}

func (p *parser) issuer(name string, line int, a attributes) {
	i := Issuer{
		Name: name, URL: a.text("url"), Audiences: a.texts("audience"), NameClaim: a.text("name_claim"), Line: line,
	}
	p.name("issuer", name, line)
	if !a.has("url") {
		p.find(line, "issuer %q has no url: give what its tokens have in iss", name)
	} else if why := checkIssuerURL(i.URL); i.URL != "" && why != "" {
		p.find(a.line("url"), "issuer %q: url is %q: %s", name, i.URL, why)
	}
	if len(i.Audiences) == 0 && a.sound("audience") {
		p.find(line, "issuer %q has no audience: give the one that tokens for this gateway are made for, or tokens for "+
			"anybody else would be taken", name)
	}
	if i.NameClaim == "" {
		i.NameClaim = "sub"
	}
	for _, other := range p.config.Issuers {
		switch {
		case other.Name == name:
			p.find(line, "issuer %q is there twice, also on line %d: rename one", name, other.Line)
		case other.URL == i.URL && i.URL != "":
			p.find(line, "issuer %q has the url of issuer %q on line %d: put the audiences of both into one", name, other.Name,
				other.Line)
		}
	}
	p.config.Issuers = append(p.config.Issuers, i)
}

// checkIssuerURL says what is wrong with the URL of an issuer, or nothing.
func checkIssuerURL(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "want https://HOST[/PATH]"
	case u.Scheme == "https":
		return ""
	case u.Scheme == "http" && loopback(u.Hostname()):
		return ""
	case u.Scheme == "http":
		return "its keys would come unprotected: want https:// (http:// is for loopback addresses alone)"
	}
	return "want https://HOST[/PATH]"
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func (p *parser) key(name string, line int, a attributes) {
	p.name("key", name, line)
	k := KeyFile{Name: name, File: p.path(a.text("file")), Line: line}
	if k.File == "" && a.sound("file") {
		p.find(line, "key %q has no file: give the path of its key pair", name)
	}
	for _, other := range p.config.Keys {
		if other.Name == name {
			p.find(line, "key %q is there twice, also on line %d: rename one", name, other.Line)
		}
	}
	p.config.Keys = append(p.config.Keys, k)
}

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`)

// name checks the label of an issuer or a key, which principals are named by.
func (p *parser) name(kind, name string, line int) {
	if !nameForm.MatchString(name) || kind == "issuer" && name == keyPrincipals {
		p.find(line, "%s %q: want a name of up to 63 lower-case letters, digits, '_', '.' and '-', other than %q for an "+
			"issuer", kind, name, keyPrincipals)
	}
}

const maxTitle = 100 // characters

func (p *parser) rule(title string, line int, a attributes) {
	r := Rule{
		Title: title, Issuer: a.text("issuer"), Claims: a.claims(), Keys: a.texts("keys"), States: a.texts("states"),
		Line: line,
	}
	if title == "" || utf8.RuneCountInString(title) > maxTitle || strings.ContainsFunc(title, unicode.IsControl) {
		p.find(line, "allow %q: want a title of 1 to %d characters on one line, which denials and the audit name", title,
			maxTitle)
	}
	for _, other := range p.config.Rules {
		if other.Title == title {
			p.find(line, "allow %q is there twice, also on line %d: denials and the audit name rules by their titles; "+
				"rename one", title, other.Line)
		}
	}
	switch {
	case a.has("issuer") && a.has("keys"):
		p.find(line, "allow %q has both issuer and keys: make two of it", title)
	case !a.has("issuer") && !a.has("keys"):
		p.find(line, "allow %q is for nobody: give the issuer of the tokens that it is for, or keys", title)
	case a.has("claims") && !a.has("issuer"):
		p.find(a.line("claims"), "allow %q has claims, which static keys have not: give an issuer, or remove them", title)
	case a.has("keys") && len(r.Keys) == 0 && a.sound("keys"):
		p.find(a.line("keys"), "allow %q is for no key: name keys, or patterns such as \"*\"", title)
	}
	if len(r.States) == 0 && a.sound("states") {
		p.find(line, "allow %q is for no state: give states, patterns of keys such as \"prod/*\"", title)
	}
	for _, pattern := range r.States {
		if strings.HasPrefix(pattern, "/") {
			p.find(a.line("states"), "allow %q: the pattern %q begins with '/', and no key of a state does: write %q", title,
				pattern, strings.TrimLeft(pattern, "/"))
		}
	}
	for _, word := range a.texts("may") {
		right := Right(word)
		switch {
		case !slices.Contains(Rights, right):
			p.find(a.line("may"), "allow %q: unknown right %q: want some of %s", title, word, list(Rights))
		case slices.Contains(r.May, right):
			p.find(a.line("may"), "allow %q gives %q twice: once is enough", title, word)
		}
		r.May = append(r.May, right)
	}
	if !a.has("may") {
		p.find(line, "allow %q says not what it gives: give may, with some of %s, or [] for nothing", title, list(Rights))
	}
	if slices.Contains(r.May, Write) && !r.gives(Lock) && !r.gives(WriteUnlocked) {
		p.find(a.line("may"), "allow %q gives \"write\", which is under the lock, without \"lock\": add it", title)
	}
	r.compile()
	p.config.Rules = append(p.config.Rules, r)
}

// judge looks at the file as a whole: who is meant by the rules, and which of them never decide.
func (p *parser) judge() {
	if len(p.findings) > 0 {
		return // which may be the cause
	}
	if len(p.config.Issuers) > 0 && p.config.MasterKeyFile == "" {
		p.find(0, "master_key_file is missing: sessions for tokens of issuers are sealed with what is in it")
	}
	if len(p.config.Rules) == 0 {
		p.find(0, "no allow block: nobody may do anything")
	}
	for i := range p.config.Rules {
		r := &p.config.Rules[i]
		if r.Issuer != "" && !slices.ContainsFunc(p.config.Issuers, func(is Issuer) bool { return is.Name == r.Issuer }) {
			p.find(r.Line, "allow %q is for the issuer %q, which no issuer block names", r.Title, r.Issuer)
		}
		for _, pattern := range r.Keys {
			glob := iampolicy.Glob(pattern)
			if !slices.ContainsFunc(p.config.Keys, func(k KeyFile) bool { return glob.Match(k.Name) }) {
				p.find(r.Line, "allow %q is for the key %q, which no key block names", r.Title, pattern)
			}
		}
		for j := range i {
			if earlier := &p.config.Rules[j]; earlier.covers(r) {
				p.find(r.Line, "allow %q never decides: %q on line %d comes first and matches all that it matches; put it "+
					"before that one, or remove it", r.Title, earlier.Title, earlier.Line)
				break
			}
		}
	}
}

// attributes are those of a block.
type attributes struct {
	p   *parser
	all hcl.Attributes
}

func (a attributes) has(name string) bool { return a.all[name] != nil }

// line is where an attribute is that a.has.
func (a attributes) line(name string) int { return a.all[name].NameRange.Start.Line }

// sound says whether nothing was found in an attribute yet, so that it really is not there, or empty.
func (a attributes) sound(name string) bool {
	return !a.has(name) || !slices.ContainsFunc(a.p.findings, func(f Finding) bool { return f.Line == a.line(name) })
}

// text is an attribute that is one text, not empty; empty: it is not there, or was found wrong.
func (a attributes) text(name string) string {
	attr := a.all[name]
	if attr == nil {
		return ""
	}
	value, ok := treefile.Literal(attr.Expr)
	text, ok := textOf(value, ok)
	if !ok || text == "" {
		a.p.find(a.line(name), "%s: want a text in quotes, without variables", name)
		return ""
	}
	return text
}

// texts is an attribute that is one text or a list of them.
func (a attributes) texts(name string) []string {
	if !a.has(name) {
		return nil
	}
	value, ok := treefile.Literal(a.all[name].Expr)
	out, ok := textsOf(value, ok)
	if !ok {
		a.p.find(a.line(name), "%s: want a list of texts in quotes, without variables", name)
	}
	return out
}

// claims are the attribute of that name.
func (a attributes) claims() map[string][]string {
	attr := a.all["claims"]
	if attr == nil {
		return nil
	}
	value, ok := treefile.Literal(attr.Expr)
	if !ok || value.IsNull() || !value.Type().IsObjectType() || a.repeats(attr.Expr) {
		a.p.find(a.line("claims"), "claims: want { NAME = \"PATTERN\" } or { NAME = [\"PATTERN\", ...] }, each name once, "+
			"without variables")
		return nil
	}
	out := map[string][]string{}
	for name, v := range value.AsValueMap() {
		out[name], ok = textsOf(v, true)
		if !ok || len(out[name]) == 0 {
			a.p.find(a.line("claims"), "claims: %s: want a pattern, or a list of them, one of which must match", name)
		}
	}
	return out
}

// repeats says whether an object names something twice, of which HCL would keep the last.
func (a attributes) repeats(expr hcl.Expression) bool {
	object, ok := expr.(*hclsyntax.ObjectConsExpr)
	if !ok {
		return false
	}
	seen := map[string]bool{}
	for _, item := range object.Items {
		key, diags := item.KeyExpr.Value(nil)
		if name, ok := textOf(key, !diags.HasErrors()); ok {
			if seen[name] {
				return true
			}
			seen[name] = true
		}
	}
	return false
}

func textOf(v cty.Value, ok bool) (string, bool) {
	if !ok || v.IsNull() || !v.IsKnown() || v.Type() != cty.String {
		return "", false
	}
	return v.AsString(), true
}

func textsOf(v cty.Value, ok bool) ([]string, bool) {
	if text, one := textOf(v, ok); one {
		return []string{text}, text != ""
	}
	if !ok || v.IsNull() || !v.Type().IsTupleType() {
		return nil, false
	}
	var out []string
	for it := v.ElementIterator(); it.Next(); {
		_, element := it.Element()
		text, ok := textOf(element, true)
		if !ok || text == "" {
			return nil, false
		}
		out = append(out, text)
	}
	return out, true
}

// short is a duration without the units that are zero.
func short(d time.Duration) string {
	return strings.TrimSuffix(strings.TrimSuffix(d.String(), "0s"), "0m")
}
