package terragrunt

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
)

// Evaluate finds what a unit says about its backend. Arguments that cannot be evaluated are in the Unit, with why; an
// error is about the unit as a whole, and is an [*UnknownError] where something cannot be evaluated that decides which
// backend there is. Errors match [statelatch.ErrInvalid].
func Evaluate(opts Options) (Unit, error) {
	dir, err := filepath.Abs(cmp.Or(opts.Dir, "."))
	if err != nil {
		return Unit{}, fmt.Errorf("%w directory: %w", statelatch.ErrInvalid, err)
	}
	root := opts.Tree
	if root == "" {
		if root, err = TreeOf(dir); err != nil {
			return Unit{}, err
		}
	}
	return evaluate(dir, root, opts.LookupEnv) // as it is called, for terragrunt resolves no symbolic link, either
}

func evaluate(dir, root string, lookupEnv func(string) (string, bool)) (Unit, error) {
	name := UnitFile(dir, lookupEnv)
	if name == "" {
		if IsStack(dir) {
			return Unit{}, fmt.Errorf("%w directory %s: it is a stack of terragrunt, and each of its units has a state; "+
				"give -chdir %s, after `terragrunt stack generate`", statelatch.ErrInvalid, dir,
				filepath.Join(dir, ".terragrunt-stack", "UNIT"))
		}
		return Unit{}, fmt.Errorf("%w directory %s: there is no %s in it", statelatch.ErrInvalid, dir, unitFile)
	}
	t, err := newTree(root)
	if err != nil {
		return Unit{}, fmt.Errorf("%w directory: %w", statelatch.ErrInvalid, err)
	}
	e := &evaluator{tree: t, lookupEnv: lookupEnv, unit: name, parsed: map[string]*file{}, because: new([]Unknown)}
	u := Unit{File: name, Args: map[string]Argument{}}
	err = e.fill(&u)
	u.Files = e.order
	var unknown unknownError
	if errors.As(err, &unknown) {
		err = &UnknownError{Unit: name, Because: unknown.because}
	}
	return u, err
}

// fill evaluates the unit. Errors are unknownErrors, or match [statelatch.ErrInvalid].
func (e *evaluator) fill(u *Unit) error {
	unit, err := e.open(e.unit, e.unit, nil)
	if err != nil {
		return err
	}
	for _, inc := range unit.includes {
		u.Includes = append(u.Includes, inc.path)
	}
	scopes := []*scope{unit} // the first that says something counts
	for i := len(unit.includes) - 1; i >= 0; i-- {
		if inc := unit.includes[i]; inc.merge {
			scopes = append(scopes, inc.scope)
		}
	}
	if auto := filepath.Join(filepath.Dir(e.unit), "terragrunt.autoinclude.hcl"); exists(auto) {
		s, err := e.open(auto, e.unit, nil)
		if err != nil {
			return err
		}
		if len(s.includes) > 0 {
			return s.unknownAt("an include in terragrunt.autoinclude.hcl", s.file.blocks("include")[0].at).err()
		}
		scopes = append([]*scope{s}, scopes...)
	}
	for _, s := range scopes {
		if err := s.checkArguments(); err != nil {
			return err
		}
	}
	u.iamRole = role(scopes)
	module := moduleBlock(scopes)
	for _, s := range scopes {
		if found, err := s.remoteState(u, module); found || err != nil {
			return cmp.Or(err, noOverride(scopes))
		}
	}
	found, doubt, err := generated(u, scopes, module)
	if found || err != nil {
		return err
	}
	block, err := module()
	if err := cmp.Or(err, doubt); err != nil {
		return err
	}
	if block.Type == "" {
		return fmt.Errorf("%w terragrunt unit %s: neither it nor its module has a backend; give s3://BUCKET/KEY",
			statelatch.ErrInvalid, u.File)
	}
	u.Type = block.Type
	for name, v := range block.Args {
		u.Args[name] = Argument{Value: v}
	}
	return nil
}

// checkArguments refuses a unit that gives engines what decides about the backend beside remote_state.
func (s *scope) checkArguments() error {
	for _, b := range s.file.blocks("terraform") {
		text := b.text(s.file.data)
		for _, word := range [...]string{"-backend-config", "TF_WORKSPACE", "TF_DATA_DIR", "TF_CLI_ARGS"} {
			if bytes.Contains(text, []byte(word)) {
				return s.unknownAt("a terraform block that sets "+word, b.at).err()
			}
		}
	}
	return nil
}

// text is the block as it stands, or the whole file where that cannot be told.
func (b block) text(data []byte) []byte {
	if r, ok := b.body.(interface{ Range() hcl.Range }); ok {
		if at := r.Range(); at.CanSliceBytes(data) {
			return at.SliceBytes(data)
		}
	}
	return data
}

// remoteState takes the scope's remote_state; false if it has none.
func (s *scope) remoteState(u *Unit, module func() (backendconf.Block, error)) (bool, error) {
	var kind, config, generate hcl.Expression
	var at hcl.Range
	if blocks := s.file.blocks("remote_state"); len(blocks) > 0 {
		if len(blocks) > 1 {
			return true, s.unknownAt("a second remote_state", blocks[1].at).err()
		}
		attrs := blocks[0].attributes()
		at = blocks[0].at
		for name, to := range map[string]*hcl.Expression{"backend": &kind, "config": &config, "generate": &generate} {
			if a := attrs[name]; a != nil {
				*to = a.Expr
			}
		}
	} else if a := s.file.attribute("remote_state"); a != nil {
		at = a.Range
		pairs, diags := hcl.ExprMap(a.Expr)
		if diags.HasErrors() {
			return true, s.unknownAt("a remote_state that is computed", at).err()
		}
		for _, pair := range pairs {
			switch keyOf(pair.Key) {
			case "backend":
				kind = pair.Value
			case "config":
				config = pair.Value
			case "generate":
				generate = pair.Value
			}
		}
	} else {
		return false, nil
	}
	if kind == nil || config == nil {
		return true, s.unknownAt("a remote_state without backend and config", at).err()
	}
	name, err := s.text(&hcl.Attribute{Expr: kind, Range: kind.Range()}, "the backend of remote_state", at)
	if err != nil {
		return true, err
	}
	u.Type = name
	if generate == nil { // then terragrunt gives these to init, on top of what the module's own block says
		if block, err := module(); err == nil && block.Type == name {
			for name, v := range block.Args {
				u.Args[name] = Argument{Value: v}
			}
		}
	}
	s.config2args(u, config)
	for _, name := range [...]string{"bucket", "key", "workspace_key_prefix", "dynamodb_table", "lock_table"} {
		switch u.Args[name].Value.(type) {
		case nil, string:
		default: // terragrunt writes a number as 1e+06
			u.Args[name] = Argument{Unknown: []Unknown{s.unknownAt("what is no text", at)}}
		}
	}
	if generate != nil {
		skip := bytes.Contains(generate.Range().SliceBytes(s.file.data), []byte("skip"))
		if err := s.replaced(skip, generate.Range(), module); err != nil {
			return true, err
		}
	}
	if table, old := u.Args["dynamodb_table"], u.Args["lock_table"]; table.Value == nil && len(table.Unknown) == 0 &&
		(old.Value != nil || len(old.Unknown) > 0) {
		u.Args["dynamodb_table"] = old
	}
	return true, nil
}

// replaced refuses a generated backend that a block of the module may replace: skip says that a file of the module's
// may stay.
func (s *scope) replaced(skip bool, at hcl.Range, module func() (backendconf.Block, error)) error {
	block, err := module()
	if err != nil || block.Type == "" {
		return nil //nolint:nilerr // it is elsewhere, and is what engines make of it
	}
	if skip || strings.Contains(filepath.Base(block.Source), "override.") {
		return s.unknownAt("a generated backend beside that of "+s.tree.rel(block.Source), at).err()
	}
	return nil
}

func keyOf(expr hcl.Expression) string {
	if name := hcl.ExprAsKeyword(expr); name != "" {
		return name
	}
	v, diags := expr.Value(nil)
	if diags.HasErrors() || !v.IsKnown() || v.IsNull() || v.Type() != cty.String {
		return ""
	}
	return v.AsString()
}

// config2args evaluates config, item by item where it is written out.
func (s *scope) config2args(u *Unit, config hcl.Expression) {
	if pairs, diags := hcl.ExprMap(config); !diags.HasErrors() {
		plain := true
		for _, pair := range pairs {
			plain = plain && keyOf(pair.Key) != ""
		}
		if plain {
			for _, pair := range pairs {
				v, because := s.collect(func() cty.Value { return s.eval(pair.Value) })
				u.Args[keyOf(pair.Key)] = s.argument(v, because, pair.Value)
			}
			return
		}
	}
	v, because := s.collect(func() cty.Value { return s.eval(config) })
	if !v.IsKnown() || v.IsNull() || !v.Type().IsObjectType() && !v.Type().IsMapType() {
		for _, name := range [...]string{"bucket", "key"} {
			u.Args[name] = s.argument(cty.DynamicVal, because, config)
		}
		return
	}
	for it := v.ElementIterator(); it.Next(); {
		k, v := it.Element()
		u.Args[k.AsString()] = s.argument(v, because, config)
	}
}

// argument is a value as an engine is given it.
func (s *scope) argument(v cty.Value, because []Unknown, expr hcl.Expression) Argument {
	if !v.IsWhollyKnown() {
		return Argument{Unknown: append(because, s.unknownAt("its value", expr.Range()))}
	}
	text, err := ctyjson.Marshal(v, v.Type())
	var value any
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		err = d.Decode(&value)
	}
	if err != nil {
		return Argument{Unknown: []Unknown{s.unknownAt("its value", expr.Range())}}
	}
	return Argument{Value: value}
}

// generate is a file that a unit has terragrunt write.
type generate struct {
	name     string
	contents hcl.Expression
	disable  hcl.Expression // nil: it is not disabled
	ifExists hcl.Expression // what becomes of a file of the module's; nil: not said
	text     []byte         // as it stands
	at       hcl.Range
}

// generates are those of a file: its blocks, and the items of its attribute.
func (s *scope) generates() ([]generate, error) {
	var all []generate
	for _, b := range s.file.blocks("generate") {
		g := generate{name: strings.Join(b.labels, " "), text: b.text(s.file.data), at: b.at}
		attrs := b.attributes()
		for name, to := range map[string]*hcl.Expression{
			"contents": &g.contents, "disable": &g.disable,
			"if_exists": &g.ifExists,
		} {
			if a := attrs[name]; a != nil {
				*to = a.Expr
			}
		}
		all = append(all, g)
	}
	a := s.file.attribute("generate")
	if _, native := s.file.body.(*hclsyntax.Body); a == nil || !native { // in JSON it is the blocks
		return all, nil
	}
	items, diags := hcl.ExprMap(a.Expr)
	if diags.HasErrors() {
		return nil, s.unknownAt("a generate that is computed", a.Range).err()
	}
	for _, item := range items {
		g := generate{name: keyOf(item.Key), text: item.Value.Range().SliceBytes(s.file.data), at: item.Value.Range()}
		pairs, diags := hcl.ExprMap(item.Value)
		if diags.HasErrors() || g.name == "" {
			return nil, s.unknownAt("a generate that is computed", g.at).err()
		}
		for _, pair := range pairs {
			switch keyOf(pair.Key) {
			case "contents":
				g.contents = pair.Value
			case "disable":
				g.disable = pair.Value
			case "if_exists":
				g.ifExists = pair.Value
			}
		}
		all = append(all, g)
	}
	return all, nil
}

// generated takes the backend of a file that the unit generates; false if there is none. One replaces those of its name
// in files that count less. doubt is why there may be one after all.
func generated(u *Unit, scopes []*scope, module func() (backendconf.Block, error)) (found bool, doubt, err error) {
	seen := map[string]bool{}
	for _, s := range scopes {
		all, err := s.generates()
		if err != nil {
			return true, nil, err
		}
		for _, g := range all {
			if seen[g.name] {
				continue
			}
			seen[g.name] = true
			if g.contents == nil {
				continue
			}
			suspect := bytes.Contains(g.text, []byte("backend"))
			if g.disable != nil {
				v, because := s.collect(func() cty.Value { return s.eval(g.disable) })
				switch {
				case !v.IsWhollyKnown() && suspect:
					return true, nil, append(because, s.unknownAt("disable of generate", g.disable.Range()))[0].err()
				case v.IsKnown() && !v.IsNull() && v.Type() == cty.Bool && v.True():
					continue
				}
			}
			text, err := s.text(&hcl.Attribute{Expr: g.contents, Range: g.contents.Range()}, "the contents of generate", g.at)
			if err != nil {
				if suspect {
					return true, nil, err
				}
				doubt = cmp.Or(doubt, err)
				continue
			}
			block, err := backendconf.ParseBlock([]byte(text), s.tree.rel(s.file.name)+" (generate "+g.name+")")
			switch {
			case err != nil:
				return true, nil, err
			case block.Type == "":
				continue
			case found:
				return true, nil, s.unknownAt("a second backend, in generate "+g.name, g.at).err()
			}
			skip := g.ifExists != nil && bytes.Contains(g.ifExists.Range().SliceBytes(s.file.data), []byte("skip"))
			if err := s.replaced(skip, g.at, module); err != nil {
				return true, nil, err
			}
			found, u.Type = true, block.Type
			for name, v := range block.Args {
				u.Args[name] = Argument{Value: v}
			}
		}
	}
	return found, doubt, nil
}

// moduleBlock finds the backend block of the module that the unit is about, when it is asked for.
func moduleBlock(scopes []*scope) func() (backendconf.Block, error) {
	return func() (backendconf.Block, error) {
		unit := scopes[0]
		dir := filepath.Dir(unit.unit)
		for _, s := range scopes {
			source := sourceOf(s)
			if source == nil {
				continue
			}
			text, err := s.text(source, "the source of its module", source.Range)
			if err != nil {
				return backendconf.Block{}, err
			}
			base, sub, _ := strings.Cut(text, "//")
			local := filepath.IsAbs(base) || strings.HasPrefix(base, "./") || strings.HasPrefix(base, "../") || base == "." ||
				base == ".."
			if !local {
				return backendconf.Block{}, s.unknownAt("the backend of a module that is elsewhere", source.Range).err()
			}
			dir = filepath.Join(at(dir, base), filepath.FromSlash(sub))
			break
		}
		real, err := filepath.EvalSymlinks(dir)
		if err != nil || !contains(unit.tree.real, real) {
			return backendconf.Block{}, Unknown{
				What: "the backend of a module that is not in the tree",
				File: unit.tree.rel(unit.unit), Line: 1,
			}.err()
		}
		for _, name := range [...]string{"TG_SOURCE", "TERRAGRUNT_SOURCE", "TG_SOURCE_MAP", "TERRAGRUNT_SOURCE_MAP"} {
			if unit.isSet(name) {
				return backendconf.Block{}, Unknown{What: "the module that " + name + " names"}.err()
			}
		}
		return backendconf.ReadBlock(real)
	}
}

// sourceOf is the source of the module in a terraform block.
func sourceOf(s *scope) *hcl.Attribute {
	for _, b := range s.file.blocks("terraform") {
		content, _, _ := b.body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "source"}}})
		if a := content.Attributes["source"]; a != nil {
			return a
		}
	}
	return nil
}

// noOverride refuses a generated file that may be an override with a backend, which would replace remote_state.
func noOverride(scopes []*scope) error {
	for _, s := range scopes {
		all, err := s.generates()
		if err != nil {
			return err
		}
		for _, g := range all {
			if bytes.Contains(g.text, []byte("override")) && bytes.Contains(g.text, []byte("backend")) {
				return s.unknownAt("a generate block that may replace remote_state", g.at).err()
			}
		}
	}
	return nil
}

// role is the role that terragrunt assumes before it runs an engine; empty if there is none, or it is not known.
func role(scopes []*scope) string {
	for _, s := range scopes {
		if s.isSet("TG_IAM_ASSUME_ROLE") || s.isSet("TERRAGRUNT_IAM_ROLE") ||
			s.file.attribute("iam_web_identity_token") != nil {
			return ""
		}
	}
	for _, s := range scopes {
		if a := s.file.attribute("iam_role"); a != nil {
			if arn, err := s.text(a, "iam_role", a.Range); err != nil || arn != "" {
				return arn
			}
		}
	}
	return ""
}
