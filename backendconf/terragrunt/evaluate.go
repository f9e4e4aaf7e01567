package terragrunt

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/statelatch/statelatch/internal/lazyre"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

const (
	maxDepth = 50        // of scopes and locals that lead to each other
	maxValue = 256 << 10 // bytes and elements of one value
	maxWork  = 1 << 30   // of one expression, see costly
	maxCalls = 1 << 28   // work of all calls of functions of a unit, see workOf
)

// dependencyOutputs is why a value is unknown that another unit's outputs are part of.
const dependencyOutputs = "outputs of a dependency"

// evaluator is one evaluation of a unit.
type evaluator struct {
	tree      *tree
	lookupEnv func(string) (string, bool)
	unit      string // the file of the unit itself
	parsed    map[string]*file
	order     []string // of parsed
	depth     int
	work      int        // that calls of functions took
	because   *[]Unknown // of the value in the making
}

// note says why the value in the making is unknown.
func (e *evaluator) note(u Unknown) {
	if !slices.Contains(*e.because, u) {
		*e.because = append(*e.because, u)
	}
}

// collect runs f and returns what it noted.
func (e *evaluator) collect(f func() cty.Value) (cty.Value, []Unknown) {
	var mine []Unknown
	before := e.because
	e.because = &mine
	defer func() { e.because = before }()
	v := f()
	if v.IsWhollyKnown() {
		return v, nil
	}
	return v, mine
}

// include is an include block.
type include struct {
	name   string
	path   string // absolute
	expose bool
	merge  bool
	scope  *scope
}

// scope is a file as it is evaluated for a unit, or for a file that is read as a unit.
type scope struct {
	*evaluator
	file     *file
	config   string   // the file of the unit that it is evaluated for
	from     *include // that has led to it; nil: it is the unit's own
	includes []*include
	locals   map[string]hcl.Expression
	values   map[string]result // of locals
	busy     map[string]bool
	funcs    map[string]function.Function
	line     int // of the expression that is evaluated
}

// result is an evaluated value and why it is unknown, if it is.
type result struct {
	value   cty.Value
	because []Unknown
}

// open makes the scope of a file. An error is one that no value can be had without.
func (e *evaluator) open(name, config string, from *include) (*scope, error) {
	if e.depth++; e.depth > maxDepth {
		return nil, Unknown{What: "files that read each other", File: e.tree.rel(name), Line: 1}.err()
	}
	defer func() { e.depth-- }()
	f, err := e.parse(name)
	if err != nil {
		return nil, err
	}
	s := &scope{evaluator: e, file: f, config: config, from: from, values: map[string]result{}, busy: map[string]bool{}}
	if s.locals, err = f.locals(); err != nil {
		return nil, err
	}
	blocks := f.blocks("include")
	if from != nil && len(blocks) > 0 {
		return nil, s.unknownAt("an include in a file that is included", blocks[0].at).err()
	}
	for _, b := range blocks {
		inc, err := s.include(b)
		if err != nil {
			return nil, err
		}
		s.includes = append(s.includes, inc)
	}
	return s, nil
}

// err is u as an error.
func (u Unknown) err() error { return unknownError{u} }

type unknownError struct{ because Unknown }

func (u unknownError) Error() string { return "cannot evaluate " + u.because.String() }

func (s *scope) unknownAt(what string, at hcl.Range) Unknown {
	return Unknown{What: what, File: s.tree.rel(s.file.name), Line: at.Start.Line}
}

// include reads an include block and what it includes.
func (s *scope) include(b block) (*include, error) {
	inc := &include{merge: true}
	if len(b.labels) > 0 {
		inc.name = b.labels[0]
	}
	attrs := b.attributes()
	path, err := s.text(attrs["path"], "the path of include", b.at)
	if err != nil {
		return nil, err
	}
	if inc.path = path; !filepath.IsAbs(path) {
		inc.path = filepath.Join(filepath.Dir(s.config), path)
	}
	if a := attrs["expose"]; a != nil {
		v, _ := s.collect(func() cty.Value { return s.eval(a.Expr) })
		if !v.IsKnown() || v.IsNull() || v.Type() != cty.Bool {
			return nil, s.unknownAt("expose of include", a.Range).err()
		}
		inc.expose = v.True()
	}
	if a := attrs["merge_strategy"]; a != nil {
		switch how, err := s.text(a, "the merge_strategy of include", b.at); {
		case err != nil:
			return nil, err
		case how == "no_merge":
			inc.merge = false
		case how != "shallow" && how != "deep":
			return nil, s.unknownAt(fmt.Sprintf("merge_strategy %q", how), a.Range).err()
		}
	}
	inc.scope, err = s.open(inc.path, s.config, inc)
	return inc, err
}

// text evaluates an attribute that must be a known string.
func (s *scope) text(a *hcl.Attribute, what string, at hcl.Range) (string, error) {
	if a == nil {
		return "", s.unknownAt(what+" (there is none)", at).err()
	}
	v, because := s.collect(func() cty.Value { return s.eval(a.Expr) })
	if !v.IsWhollyKnown() {
		return "", append(because, s.unknownAt(what, a.Range))[0].err()
	}
	if v.IsNull() || v.Type() != cty.String {
		return "", s.unknownAt(what, a.Range).err()
	}
	return v.AsString(), nil
}

// eval evaluates an expression; what cannot be evaluated is unknown, and why has been noted.
func (s *scope) eval(expr hcl.Expression) cty.Value {
	unknown := func(what string) cty.Value {
		s.note(s.unknownAt(what, expr.Range()))
		return cty.DynamicVal
	}
	if s.depth++; s.depth > maxDepth {
		s.depth--
		return unknown("an expression that is nested too deeply")
	}
	outer := s.line
	s.line = expr.Range().Start.Line
	defer func() { s.depth--; s.line = outer }()
	vars := s.variables(expr.Variables())
	if costly(expr, s.file.data, vars) {
		return unknown("an expression that takes too much work")
	}
	v, diags := expr.Value(&hcl.EvalContext{Variables: vars, Functions: s.functions(expr)})
	if diags.HasErrors() {
		return unknown(problem(diags))
	}
	if sizeOf(v) > maxValue {
		return unknown("a value that is too large")
	}
	return v
}

// problem is a diagnostic without values, which may be secret.
func problem(diags hcl.Diagnostics) string {
	for _, d := range diags {
		if d.Severity == hcl.DiagError {
			return "an expression with an error (" + d.Summary + ")"
		}
	}
	return "an expression with an error"
}

// variables are what an expression refers to, evaluated as far as it does.
func (s *scope) variables(refs []hcl.Traversal) map[string]cty.Value {
	vars := map[string]cty.Value{}
	wanted := map[string][]hcl.Traversal{}
	for _, ref := range refs {
		wanted[ref.RootName()] = append(wanted[ref.RootName()], ref[1:])
	}
	for root, refs := range wanted {
		switch root {
		case "local":
			vars[root] = s.localObject(refs, true)
		case "include":
			if v, ok := s.exposed(refs); ok {
				vars[root] = v
			}
		case "values":
			if v, ok := s.stackValues(); ok {
				vars[root] = v
			}
		case "feature":
			vars[root] = s.features()
		case "dependency":
			s.note(s.unknownAt(dependencyOutputs, refs[0].SourceRange()))
			vars[root] = cty.DynamicVal
		}
	}
	return vars
}

// step is the name that a traversal begins with; empty if that is computed.
func step(ref hcl.Traversal) string {
	if len(ref) == 0 {
		return ""
	}
	switch t := ref[0].(type) {
	case hcl.TraverseAttr:
		return t.Name
	case hcl.TraverseIndex:
		if t.Key.IsKnown() && !t.Key.IsNull() && t.Key.Type() == cty.String {
			return t.Key.AsString()
		}
	}
	return ""
}

// localObject are the locals that refs need. One that does not exist is unknown if must, as terragrunt then ends
// whatever try would say, and absent otherwise.
func (s *scope) localObject(refs []hcl.Traversal, must bool) cty.Value {
	names := map[string]bool{}
	for _, ref := range refs {
		if name := step(ref); name != "" {
			names[name] = true
			continue
		}
		for name := range s.locals {
			names[name] = true
		}
	}
	values := map[string]cty.Value{}
	for name := range names {
		if s.locals[name] == nil && !must {
			continue
		}
		values[name] = s.local(name)
	}
	return cty.ObjectVal(values)
}

// local evaluates a local, once.
func (s *scope) local(name string) cty.Value {
	expr := s.locals[name]
	r, done := s.values[name]
	switch {
	case expr == nil:
		s.note(Unknown{What: "local." + name + ", which does not exist", File: s.tree.rel(s.file.name), Line: 1})
		return cty.DynamicVal
	case s.busy[name]:
		s.note(s.unknownAt("locals that refer to each other", expr.Range()))
		return cty.DynamicVal
	case !done:
		s.busy[name] = true
		r.value, r.because = s.collect(func() cty.Value { return s.eval(expr) })
		delete(s.busy, name)
		s.values[name] = r
	}
	for _, u := range r.because {
		s.note(u)
	}
	return r.value
}

// exposed is the variable include: false if there is none.
func (s *scope) exposed(refs []hcl.Traversal) (cty.Value, bool) {
	if len(s.includes) == 0 {
		return cty.NilVal, false
	}
	if len(s.includes) == 1 && s.includes[0].name == "" {
		inc := s.includes[0]
		if !inc.expose {
			s.note(Unknown{What: "an include that is not exposed", File: s.tree.rel(s.file.name), Line: 1})
			return cty.DynamicVal, true
		}
		return inc.scope.asObject(refs), true
	}
	all := map[string]cty.Value{}
	for _, inc := range s.includes {
		if !inc.expose {
			continue
		}
		var mine []hcl.Traversal
		for _, ref := range refs {
			switch step(ref) {
			case inc.name:
				mine = append(mine, ref[1:])
			case "":
				mine = append(mine, nil)
			}
		}
		if mine != nil {
			all[inc.name] = inc.scope.asObject(mine)
		}
	}
	return cty.ObjectVal(all), true
}

// attributes of a configuration that other files can read and that are not worth evaluating here.
var opaque = []string{
	"terraform", "terraform_binary", "terraform_version_constraint", "terragrunt_version_constraint", "remote_state",
	"dependencies",
	"dependency", "download_dir", "prevent_destroy", "iam_role", "iam_assume_role_duration",
	"iam_assume_role_session_name",
	"iam_web_identity_token", "catalog", "engine", "generate", "exclude", "errors", "feature", "inputs",
}

// asObject is the file as others see it: its locals and inputs, as far as refs need them.
func (s *scope) asObject(refs []hcl.Traversal) cty.Value {
	all := map[string]cty.Value{}
	for _, name := range opaque {
		all[name] = cty.DynamicVal
	}
	var locals []hcl.Traversal
	inputs, others := false, false
	for _, ref := range refs {
		switch step(ref) {
		case "locals":
			locals = append(locals, ref[1:])
		case "inputs":
			inputs = true
		case "":
			locals, inputs, others = append(locals, nil), true, true
		default:
			others = true
		}
	}
	if len(s.locals) > 0 {
		all["locals"] = asJSON(s.localObject(locals, false))
	}
	if a := s.file.attribute("inputs"); inputs && len(s.includes) == 0 {
		if a == nil {
			delete(all, "inputs")
		} else {
			all["inputs"] = asJSON(s.eval(a.Expr))
		}
	} else if inputs {
		others = true
	}
	if others {
		s.note(Unknown{What: "more than locals and inputs of another file", File: s.tree.rel(s.file.name), Line: 1})
	}
	return cty.ObjectVal(all)
}

// asJSON is a value as other files get it: terragrunt sends it through JSON, which knows neither sets, lists nor maps.
func asJSON(v cty.Value) cty.Value {
	ty := v.Type()
	switch {
	case !v.IsKnown():
		return cty.DynamicVal
	case v.IsNull():
		return cty.NullVal(cty.DynamicPseudoType)
	case ty.IsSetType() && !v.IsWhollyKnown():
		return cty.DynamicVal
	case ty.IsObjectType(), ty.IsMapType():
		all := map[string]cty.Value{}
		for it := v.ElementIterator(); it.Next(); {
			name, element := it.Element()
			all[name.AsString()] = asJSON(element)
		}
		return cty.ObjectVal(all)
	case v.CanIterateElements():
		var all []cty.Value
		for it := v.ElementIterator(); it.Next(); {
			_, element := it.Element()
			all = append(all, asJSON(element))
		}
		return cty.TupleVal(all)
	}
	return v
}

// stackValues are those that a stack has given this unit.
func (s *scope) stackValues() (cty.Value, bool) {
	name := filepath.Join(filepath.Dir(s.file.name), "terragrunt.values.hcl")
	if !exists(name) {
		return cty.NilVal, false
	}
	fail := func(err error) (cty.Value, bool) {
		s.note(s.because1(err, name))
		return cty.DynamicVal, true
	}
	f, err := s.parse(name)
	if err != nil {
		return fail(err)
	}
	attrs, diags := f.body.JustAttributes()
	if diags.HasErrors() {
		return fail(errors.New(problem(diags)))
	}
	in := &scope{evaluator: s.evaluator, file: f, config: s.config, values: map[string]result{}, busy: map[string]bool{}}
	values := map[string]cty.Value{}
	for attr, a := range attrs {
		values[attr] = in.eval(a.Expr)
	}
	return cty.ObjectVal(values), true
}

// because1 is an error as a reason.
func (s *scope) because1(err error, name string) Unknown {
	var u unknownError
	if errors.As(err, &u) {
		return u.because
	}
	return Unknown{What: cause(err).Error(), File: s.tree.rel(name), Line: 1}
}

// features are the defaults of the feature flags, unless the environment may set others.
func (s *scope) features() cty.Value {
	if s.lookupEnv == nil || s.isSet("TG_FEATURE") || s.isSet("TERRAGRUNT_FEATURE") {
		s.note(Unknown{What: "feature flags of the environment", File: s.tree.rel(s.file.name), Line: 1})
		return cty.DynamicVal
	}
	all := map[string]cty.Value{}
	add := func(in *scope) {
		for _, b := range in.file.blocks("feature") {
			if len(b.labels) == 0 {
				continue
			}
			value := cty.DynamicVal
			if a := b.attributes()["default"]; a != nil {
				if value = in.eval(a.Expr); !value.Type().IsPrimitiveType() {
					s.note(s.unknownAt("a feature that is more than a text, a number or a boolean", b.at))
					value = cty.DynamicVal
				}
			}
			if _, twice := all[b.labels[0]]; twice {
				s.note(s.unknownAt("a feature that is set twice", b.at))
				value = cty.DynamicVal
			}
			all[b.labels[0]] = cty.ObjectVal(map[string]cty.Value{"name": cty.StringVal(b.labels[0]), "value": value})
		}
	}
	add(s)
	for _, inc := range s.includes {
		if inc.merge {
			add(inc.scope)
		}
	}
	return cty.ObjectVal(all)
}

// isSet reports whether a variable of the environment is set, as far as that is known.
func (s *scope) isSet(name string) bool {
	if s.lookupEnv == nil {
		return false
	}
	_, set := s.lookupEnv(name)
	return set
}

var (
	callPattern = lazyre.New(`([A-Za-z_][A-Za-z0-9_:-]*)[ \t]*\(`)
	forPattern  = lazyre.New(`\bfor\b`)
	makesLists  = lazyre.New(`\b(split|range|regexall|concat|flatten|setunion|keys|values|chunklist|csvdecode|jsondecode|yamldecode|file|formatlist|regex|read_terragrunt_config|fileset)\b`)
)

// costly reports whether an expression could take a long time or much memory: what it refers to, once for each element
// that its for expressions could go through.
func costly(expr hcl.Expression, data []byte, vars map[string]cty.Value) bool {
	text := expr.Range().SliceBytes(data)
	size, elements := len(text), bytes.Count(text, []byte(","))+1
	for _, ref := range expr.Variables() {
		v, ok := vars[ref.RootName()]
		if !ok {
			continue
		}
		for _, t := range ref[1:] {
			name := step(hcl.Traversal{t})
			if name == "" || !v.IsKnown() || v.IsNull() || !v.Type().IsObjectType() || !v.Type().HasAttribute(name) {
				break
			}
			v = v.GetAttr(name)
		}
		size += sizeOf(v)
		elements = max(elements, elementsOf(v))
	}
	loops := len(forPattern.FindAll(text, 10))
	if loops > 0 && makesLists.Match(text) {
		elements = max(elements, 1024)
	}
	work := size
	for range loops {
		if work *= elements; work > maxWork {
			return true
		}
	}
	return work > maxWork
}

// sizeOf is the bytes and elements of a value, as far as it matters whether they are too many.
func sizeOf(v cty.Value) (n int) {
	_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		n++
		if v.Type() == cty.String && v.IsKnown() && !v.IsNull() {
			n += len(v.AsString())
		}
		return n <= maxWork, nil
	})
	return n
}

func elementsOf(v cty.Value) (n int) {
	_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		if v.IsKnown() && !v.IsNull() && v.CanIterateElements() {
			n = max(n, v.LengthInt())
		}
		return true, nil
	})
	return n
}

// called are the functions that a text seems to call.
func called(text []byte) []string {
	var names []string
	for _, m := range callPattern.FindAllSubmatch(text, -1) {
		if name := string(m[1]); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// lineOf is where expr calls a function.
func lineOf(expr hcl.Expression, data []byte, name string) int {
	r := expr.Range()
	text := r.SliceBytes(data)
	for _, m := range callPattern.FindAllSubmatchIndex(text, -1) {
		if string(text[m[2]:m[3]]) == name {
			return r.Start.Line + bytes.Count(text[:m[2]], []byte("\n"))
		}
	}
	return r.Start.Line
}
