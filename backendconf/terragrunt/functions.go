package terragrunt

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/customdecode"
	"github.com/statelatch/statelatch/internal/lazyre"
	ctyyaml "github.com/zclconf/go-cty-yaml"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"go.yaml.in/yaml/v3"
)

// pure are the functions that need nothing but their arguments. All others that exist are unknown: those that run or
// ask something (run_cmd, sops_decrypt_file, get_aws_account_id), that depend on the command (get_terraform_command) or
// the time, and those that no key needs.
var pure = func() map[string]function.Function {
	return map[string]function.Function{
		"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "log": stdlib.LogFunc,
		"max": stdlib.MaxFunc,
		"min": stdlib.MinFunc, "parseint": stdlib.ParseIntFunc, "pow": stdlib.PowFunc, "signum": stdlib.SignumFunc,
		"chomp": stdlib.ChompFunc, "format": stdlib.FormatFunc, "formatlist": stdlib.FormatListFunc,
		"lower": stdlib.LowerFunc,
		"regex": stdlib.RegexFunc, "regexall": stdlib.RegexAllFunc, "split": stdlib.SplitFunc, "strrev": stdlib.ReverseFunc,
		"substr": stdlib.SubstrFunc, "title": stdlib.TitleFunc, "trim": stdlib.TrimFunc, "trimprefix": stdlib.TrimPrefixFunc,
		"trimspace": stdlib.TrimSpaceFunc, "trimsuffix": stdlib.TrimSuffixFunc, "upper": stdlib.UpperFunc,
		"chunklist": stdlib.ChunklistFunc, "coalescelist": stdlib.CoalesceListFunc, "compact": stdlib.CompactFunc,
		"concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc, "distinct": stdlib.DistinctFunc,
		"element": stdlib.ElementFunc,
		"flatten": stdlib.FlattenFunc, "keys": stdlib.KeysFunc, "merge": stdlib.MergeFunc, "range": stdlib.RangeFunc,
		"reverse": stdlib.ReverseListFunc, "setintersection": stdlib.SetIntersectionFunc,
		"setsubtract": stdlib.SetSubtractFunc,
		"setunion":    stdlib.SetUnionFunc, "slice": stdlib.SliceFunc, "sort": stdlib.SortFunc, "values": stdlib.ValuesFunc,
		"zipmap": stdlib.ZipmapFunc, "csvdecode": stdlib.CSVDecodeFunc,
		"jsondecode": shallow(stdlib.JSONDecodeFunc, json.Valid),
		"jsonencode": stdlib.JSONEncodeFunc, "formatdate": stdlib.FormatDateFunc, "timeadd": stdlib.TimeAddFunc,
		"yamldecode": shallow(ctyyaml.YAMLDecodeFunc, validYAML), "yamlencode": ctyyaml.YAMLEncodeFunc,
		"coalesce": coalesce, "index": index, "join": stdlib.JoinFunc, "length": length, "lookup": lookup, "replace": replace,
		"try": try, "can": can,
		"tostring": to(cty.String), "tonumber": to(cty.Number), "tobool": to(cty.Bool),
		"toset":  to(cty.Set(cty.DynamicPseudoType)),
		"tolist": to(cty.List(cty.DynamicPseudoType)), "tomap": to(cty.Map(cty.DynamicPseudoType)),
		"basename":     ofString(filepath.Base),
		"dirname":      ofString(filepath.Dir),
		"base64encode": ofString(func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }),
		"urlencode":    ofString(url.QueryEscape),
		"md5":          ofString(func(s string) string { sum := md5.Sum([]byte(s)); return hex.EncodeToString(sum[:]) }),
		"sha1":         ofString(func(s string) string { sum := sha1.Sum([]byte(s)); return hex.EncodeToString(sum[:]) }),
		"sha256": ofString(func(s string) string {
			sum := sha256.Sum256([]byte(s))
			return hex.EncodeToString(sum[:])
		}),
		"sha512": ofString(func(s string) string {
			sum := sha512.Sum512([]byte(s))
			return hex.EncodeToString(sum[:])
		}),
		"base64sha256": ofString(func(s string) string {
			sum := sha256.Sum256([]byte(s))
			return base64.StdEncoding.EncodeToString(sum[:])
		}),
		"base64sha512": ofString(func(s string) string {
			sum := sha512.Sum512([]byte(s))
			return base64.StdEncoding.EncodeToString(sum[:])
		}),
		"base64decode": strings1(1, func(a []string) (string, error) {
			raw, err := base64.StdEncoding.DecodeString(a[0])
			if err == nil && !utf8.Valid(raw) {
				err = errors.New("the result is not UTF-8")
			}
			return string(raw), err
		}),
		"startswith":  test(strings.HasPrefix),
		"endswith":    test(strings.HasSuffix),
		"strcontains": test(strings.Contains),
	}
}()

// metered makes the result of a function unknown that is too large for others to build on, or that takes more work than
// is left to the unit. try and can take expressions, whose functions are metered themselves.
func (s *scope) metered(name string, f function.Function) function.Function {
	if name == "try" || name == "can" {
		return f
	}
	var rest *function.Parameter
	if f.VarParam() != nil {
		p := *f.VarParam()
		rest = &p
	}
	return function.New(&function.Spec{
		Params: f.Params(), VarParam: rest,
		Type: f.ReturnTypeForValues,
		Impl: func(args []cty.Value, ret cty.Type) (cty.Value, error) {
			if s.work += workOf(name, args); s.work > maxCalls {
				return s.unknown(ret, name+" of values that are too large"), nil
			}
			v, err := f.Call(args)
			if err == nil && sizeOf(v) > maxValue {
				return s.unknown(ret, name+" with a result that is too large"), nil
			}
			return v, err
		},
	})
}

// workOf is about how many steps a call takes, and how many bytes it needs.
func workOf(name string, args []cty.Value) int {
	sizes, total := make([]int, len(args)), 1
	for i, v := range args {
		sizes[i] = sizeOf(v)
		total += sizes[i]
	}
	if len(args) == 0 {
		return total
	}
	switch name {
	case "join": // the separator between all elements
		return sizes[0]*total + total
	case "replace": // each place in the text, which a pattern may look at to its end
		if pattern, ok := textOf(args[1]); ok && strings.HasPrefix(pattern, "/") {
			return sizes[0] * (sizes[0] + sizes[2]) * sizes[1]
		}
		return sizes[0]*sizes[2] + total
	case "regexall":
		return sizes[1] * sizes[1] * sizes[0]
	case "regex":
		return sizes[1] * sizes[0]
	case "distinct": // each element with all others
		return sizes[0] * elementsOf(args[0])
	case "format", "formatlist":
		text, _ := textOf(args[0])
		for _, verb := range formatVerb.FindAllString(text, -1) {
			for _, digits := range number.FindAllString(verb, -1) {
				n, err := strconv.Atoi(digits)
				if err != nil || n > maxValue {
					return maxCalls + 1
				}
				total += n
			}
		}
		if name == "formatlist" {
			elements := 1
			for _, v := range args[1:] {
				elements = max(elements, elementsOf(v))
			}
			return total * elements
		}
	}
	return total
}

// What a format has between its % and its letter, with widths and precisions.
var (
	formatVerb = lazyre.New(`%[^a-zA-Z%]*`)
	number     = lazyre.New(`[0-9]+`)
)

func textOf(v cty.Value) (string, bool) {
	if v.Type() != cty.String || !v.IsKnown() || v.IsNull() {
		return "", false
	}
	return v.AsString(), true
}

// shallow leaves text to a decoder that recurses only if a parser with a limit of depth takes it. Otherwise the value
// is unknown: it may be no failure to terragrunt.
func shallow(f function.Function, valid func([]byte) bool) function.Function {
	return function.New(&function.Spec{
		Params: f.Params(),
		Type:   function.StaticReturnType(cty.DynamicPseudoType),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if !valid([]byte(args[0].AsString())) {
				return cty.DynamicVal, nil
			}
			return f.Call(args)
		},
	})
}

func validYAML(text []byte) bool {
	var n yaml.Node
	return yaml.Unmarshal(text, &n) == nil && expanded(&n, map[*yaml.Node]int{}) <= maxValue
}

// expanded is how many nodes n has once its aliases are replaced, as far as it matters whether they are too many.
func expanded(n *yaml.Node, known map[*yaml.Node]int) int {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if size, ok := known[n]; ok {
		return size
	}
	known[n] = maxValue + 1 // an alias of itself
	size := 1
	for _, child := range n.Content {
		size = min(size+expanded(child, known), maxValue+1)
	}
	known[n] = size
	return size
}

func ofString(f func(string) string) function.Function {
	return strings1(1, func(a []string) (string, error) { return f(a[0]), nil })
}

// strings1 is a function of n strings; n < 0: of any number.
func strings1(n int, f func([]string) (string, error)) function.Function {
	return of(n, cty.String, func(a []string) (cty.Value, error) {
		s, err := f(a)
		return cty.StringVal(s), err
	})
}

func test(f func(a, b string) bool) function.Function {
	return of(2, cty.Bool, func(a []string) (cty.Value, error) { return cty.BoolVal(f(a[0], a[1])), nil })
}

// of is a function of n strings; n < 0: of any number.
func of(n int, ret cty.Type, f func([]string) (cty.Value, error)) function.Function {
	return function.New(&function.Spec{
		VarParam: &function.Parameter{Name: "args", Type: cty.String},
		Type:     function.StaticReturnType(ret),
		Impl: func(args []cty.Value, ret cty.Type) (cty.Value, error) {
			if n >= 0 && len(args) != n {
				return cty.UnknownVal(ret), fmt.Errorf("want %d arguments, got %d", n, len(args))
			}
			texts := make([]string, len(args))
			for i, a := range args {
				texts[i] = a.AsString()
			}
			return f(texts)
		},
	})
}

// try and can evaluate their arguments once, and never take an unknown function for a failure: another version of
// terragrunt may have it.
var try = function.New(&function.Spec{
	VarParam: &function.Parameter{Name: "expressions", Type: customdecode.ExpressionClosureType},
	Type:     function.StaticReturnType(cty.DynamicPseudoType),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		for _, arg := range args {
			switch v, failed := attempt(arg); {
			case failed:
			case !v.IsWhollyKnown():
				return cty.DynamicVal, nil
			default:
				return v, nil
			}
		}
		return cty.DynamicVal, errors.New("no expression succeeded")
	},
})

var can = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "expression", Type: customdecode.ExpressionClosureType}},
	Type:   function.StaticReturnType(cty.Bool),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		v, failed := attempt(args[0])
		if !failed && !v.IsWhollyKnown() {
			return cty.UnknownVal(cty.Bool), nil
		}
		return cty.BoolVal(!failed), nil
	},
})

func attempt(arg cty.Value) (v cty.Value, failed bool) {
	v, diags := customdecode.ExpressionClosureFromVal(arg).Value()
	for _, d := range diags {
		if d.Severity == hcl.DiagError && strings.Contains(d.Summary, "unknown function") {
			return cty.DynamicVal, false
		}
	}
	return v, diags.HasErrors()
}

var coalesce = function.New(&function.Spec{
	VarParam: &function.Parameter{
		Name: "vals", Type: cty.DynamicPseudoType, AllowUnknown: true, AllowDynamicType: true,
		AllowNull: true,
	},
	Type: func(args []cty.Value) (cty.Type, error) {
		types := make([]cty.Type, len(args))
		for i, v := range args {
			types[i] = v.Type()
		}
		ret, _ := convert.UnifyUnsafe(types)
		if ret == cty.NilType {
			return ret, errors.New("all arguments must have the same type")
		}
		return ret, nil
	},
	Impl: func(args []cty.Value, ret cty.Type) (cty.Value, error) {
		for _, v := range args {
			v, err := convert.Convert(v, ret)
			switch {
			case err != nil:
				return cty.UnknownVal(ret), err
			case !v.IsKnown():
				return cty.UnknownVal(ret), nil
			case v.IsNull() || ret == cty.String && v.AsString() == "":
			default:
				return v, nil
			}
		}
		return cty.UnknownVal(ret), errors.New("no argument that is not null or empty")
	},
})

var length = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		switch v := args[0]; {
		case v.Type() == cty.String:
			return stdlib.Strlen(v)
		case v.CanIterateElements():
			return cty.NumberIntVal(int64(v.LengthInt())), nil
		}
		return cty.UnknownVal(cty.Number), errors.New("want a string or a collection")
	},
})

var index = function.New(&function.Spec{
	Params: []function.Parameter{
		{Name: "list", Type: cty.DynamicPseudoType},
		{Name: "value", Type: cty.DynamicPseudoType},
	},
	Type: function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if ty := args[0].Type(); !ty.IsListType() && !ty.IsTupleType() {
			return cty.UnknownVal(cty.Number), errors.New("want a list")
		}
		for it := args[0].ElementIterator(); it.Next(); {
			i, v := it.Element()
			same, err := stdlib.Equal(v, args[1])
			if err != nil || !same.IsKnown() {
				return cty.UnknownVal(cty.Number), err
			}
			if same.True() {
				return i, nil
			}
		}
		return cty.UnknownVal(cty.Number), errors.New("item not found")
	},
})

var lookup = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "map", Type: cty.DynamicPseudoType}, {Name: "key", Type: cty.String}},
	VarParam: &function.Parameter{
		Name: "default", Type: cty.DynamicPseudoType, AllowUnknown: true, AllowDynamicType: true,
		AllowNull: true,
	},
	Type: function.StaticReturnType(cty.DynamicPseudoType),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		m, key := args[0], args[1]
		switch ty := m.Type(); {
		case len(args) > 3 || !ty.IsObjectType() && !ty.IsMapType():
			return cty.DynamicVal, errors.New("want a map, a key and a default")
		case ty.IsObjectType() && ty.HasAttribute(key.AsString()):
			return m.GetAttr(key.AsString()), nil
		case ty.IsMapType() && m.HasIndex(key).True():
			return m.Index(key), nil
		case len(args) < 3:
			return cty.DynamicVal, errors.New("no such key")
		case ty.IsMapType():
			return convert.Convert(args[2], ty.ElementType())
		}
		return args[2], nil
	},
})

var replace = of(3, cty.String, func(a []string) (cty.Value, error) {
	str, old, with := a[0], a[1], a[2]
	if len(old) > 1 && old[0] == '/' && old[len(old)-1] == '/' {
		re, err := regexp.Compile(old[1 : len(old)-1])
		if err != nil {
			return cty.UnknownVal(cty.String), err
		}
		return cty.StringVal(re.ReplaceAllString(str, with)), nil
	}
	return cty.StringVal(strings.ReplaceAll(str, old, with)), nil
})

func to(want cty.Type) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "v", Type: cty.DynamicPseudoType, AllowNull: true}},
		Type: func(args []cty.Value) (cty.Type, error) {
			if args[0].Type().Equals(want) || convert.GetConversionUnsafe(args[0].Type(), want) != nil {
				return want, nil
			}
			return cty.NilType, errors.New("it cannot be converted")
		},
		Impl: func(args []cty.Value, ret cty.Type) (cty.Value, error) { return convert.Convert(args[0], ret) },
	})
}

// functions are those that expr may call.
func (s *scope) functions(expr hcl.Expression) map[string]function.Function {
	if s.funcs == nil {
		s.funcs = s.contextual()
		for name, f := range pure {
			s.funcs[name] = s.metered(name, f)
		}
	}
	all := s.funcs
	for _, name := range called(expr.Range().SliceBytes(s.file.data)) {
		if _, ok := s.funcs[name]; ok {
			continue
		}
		if len(all) == len(s.funcs) {
			all = maps.Clone(s.funcs)
		}
		at := Unknown{What: name, File: s.tree.rel(s.file.name), Line: lineOf(expr, s.file.data, name)}
		all[name] = function.New(&function.Spec{
			VarParam: &function.Parameter{
				Name: "args", Type: cty.DynamicPseudoType, AllowNull: true, AllowUnknown: true,
				AllowDynamicType: true,
			},
			Type: function.StaticReturnType(cty.DynamicPseudoType),
			Impl: func([]cty.Value, cty.Type) (cty.Value, error) {
				s.note(at)
				return cty.DynamicVal, nil
			},
		})
	}
	return all
}

// contextual are the functions that depend on where they are called.
func (s *scope) contextual() map[string]function.Function {
	dir, base := filepath.Dir(s.config), filepath.Dir(s.file.name)
	constant := func(text string) function.Function {
		return strings1(0, func([]string) (string, error) { return text, nil })
	}
	all := map[string]function.Function{
		"get_terragrunt_dir":          constant(dir),
		"get_original_terragrunt_dir": constant(filepath.Dir(s.unit)),
		"get_platform":                constant(runtime.GOOS),
		"path_relative_to_include": s.relative(".", func(inc *include) (string, error) {
			return filepath.Rel(filepath.Dir(inc.path), dir)
		}),
		"path_relative_from_include": s.relative(".", func(inc *include) (string, error) {
			return filepath.Rel(dir, filepath.Dir(inc.path))
		}),
		"get_parent_terragrunt_dir": s.relative(dir, func(inc *include) (string, error) {
			return filepath.Dir(inc.path), nil
		}),
		"get_env": of(-1, cty.String, func(a []string) (cty.Value, error) {
			switch {
			case len(a) == 0 || len(a) > 2 || a[0] == "":
				return cty.UnknownVal(cty.String), errors.New("want a name and a default")
			case s.lookupEnv == nil:
				return s.unknown(cty.String, "get_env of "+a[0]), nil
			}
			value, set := s.lookupEnv(a[0])
			switch {
			case set:
				return cty.StringVal(value), nil
			case len(a) == 2:
				return cty.StringVal(a[1]), nil
			}
			_ = s.unknown(cty.String, "get_env of "+a[0]+", which is not set")
			return cty.UnknownVal(cty.String), errors.New("it is not set")
		}),
		"find_in_parent_folders": of(-1, cty.String, func(a []string) (cty.Value, error) {
			if len(a) > 2 {
				return cty.UnknownVal(cty.String), errors.New("want a name and a fallback")
			}
			at := dir
			for range 100 {
				up := filepath.Dir(at)
				if up == at {
					break
				}
				names := []string{unitJSON, unitFile}
				if len(a) > 0 && a[0] != "" {
					names = a[:1]
				}
				for _, name := range names {
					if found := filepath.Join(up, name); exists(found) {
						return cty.StringVal(found), nil
					}
				}
				at = up
			}
			if len(a) == 2 {
				return cty.StringVal(a[1]), nil
			}
			return cty.UnknownVal(cty.String), errors.New("no such file in the directories above")
		}),
		"file": of(1, cty.String, func(a []string) (cty.Value, error) {
			data, name, err := s.contents(base, a[0])
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return cty.UnknownVal(cty.String), errors.New("there is no such file")
			case err != nil:
				return s.unknown(cty.String, "file "+s.tree.rel(name)+" ("+cause(err).Error()+")"), nil
			case !utf8.Valid(data):
				return cty.UnknownVal(cty.String), errors.New("the file is not UTF-8")
			}
			return cty.StringVal(string(data)), nil
		}),
		"fileexists": of(1, cty.Bool, func(a []string) (cty.Value, error) {
			name := at(base, a[0])
			info, err := os.Stat(name)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return cty.False, nil
			case err != nil || strings.HasPrefix(a[0], "~"):
				return s.unknown(cty.Bool, "fileexists of "+s.tree.rel(name)), nil //nolint:nilerr // it is unknown, no failure
			case !info.Mode().IsRegular():
				return cty.False, errors.New("it is no regular file")
			}
			return cty.True, nil
		}),
		"mark_as_read": strings1(1, func(a []string) (string, error) { return at(dir, a[0]), nil }),
		"read_tfvars_file": of(1, cty.String, func(a []string) (cty.Value, error) {
			return s.tfvars(at(dir, a[0]))
		}),
		"read_terragrunt_config": s.readConfig(),
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil { // git sees no symbolic links
		if root := repository(real); root != "" && contains(root, dir) {
			from, _ := filepath.Rel(root, dir)
			to, _ := filepath.Rel(dir, root)
			all["get_repo_root"], all["get_path_from_repo_root"], all["get_path_to_repo_root"] = constant(root), constant(from),
				constant(to)
		}
	}
	return all
}

// unknown is an unknown value, with the reason noted.
func (s *scope) unknown(ret cty.Type, what string) cty.Value {
	s.note(Unknown{What: what, File: s.tree.rel(s.file.name), Line: s.line})
	return cty.UnknownVal(ret)
}

// repository is the directory with a .git at or above dir.
func repository(dir string) string {
	for at := dir; ; at = filepath.Dir(at) {
		if exists(filepath.Join(at, ".git")) {
			return at
		}
		if at == filepath.Dir(at) {
			return ""
		}
	}
}

// at is a path that a function was given.
func at(base, name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(base, name)
}

func (s *scope) contents(base, path string) (data []byte, name string, err error) {
	name = at(base, path)
	if strings.HasPrefix(path, "~") {
		return nil, path, errOutside
	}
	data, err = s.tree.read(name)
	return data, name, err
}

// relative is a function on the include that this scope was included by, or that its argument names; none is its value
// without.
func (s *scope) relative(none string, f func(*include) (string, error)) function.Function {
	return strings1(-1, func(a []string) (string, error) {
		inc := s.from
		if inc == nil {
			switch {
			case len(s.includes) == 1:
				inc = s.includes[0]
			case len(s.includes) > 1:
				for _, one := range s.includes {
					if len(a) == 1 && one.name == a[0] {
						inc = one
					}
				}
				if inc == nil {
					return "", errors.New("want the name of one of the includes")
				}
			}
		}
		if inc == nil {
			return none, nil
		}
		return f(inc)
	})
}

// tfvars are the variables of a file as JSON.
func (s *scope) tfvars(name string) (cty.Value, error) {
	data, err := s.tree.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return cty.UnknownVal(cty.String), errors.New("there is no such file")
	}
	if err != nil {
		return s.unknown(cty.String, "file "+s.tree.rel(name)+" ("+cause(err).Error()+")"), nil
	}
	if strings.HasSuffix(name, "json") {
		if !json.Valid(data) {
			return cty.UnknownVal(cty.String), errors.New("it is not JSON")
		}
		return cty.StringVal(string(data)), nil
	}
	f, err := s.parse(name)
	if err != nil {
		return s.unknown(cty.String, "variables of "+s.tree.rel(name)), nil //nolint:nilerr // it is unknown, no failure
	}
	attrs, diags := f.body.JustAttributes()
	if diags.HasErrors() {
		return s.unknown(cty.String, "variables of "+s.tree.rel(name)), nil
	}
	values := map[string]cty.Value{}
	for attr, a := range attrs {
		v, diags := a.Expr.Value(nil)
		if diags.HasErrors() || !v.IsWhollyKnown() {
			return s.unknown(cty.String, "variables of "+s.tree.rel(name)), nil
		}
		values[attr] = v
	}
	object := cty.ObjectVal(values)
	text, err := ctyjson.Marshal(object, object.Type())
	return cty.StringVal(string(text)), err
}

// readConfig is read_terragrunt_config: a file as a unit of its own.
func (s *scope) readConfig() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		VarParam: &function.Parameter{
			Name: "default", Type: cty.DynamicPseudoType, AllowNull: true, AllowUnknown: true,
			AllowDynamicType: true,
		},
		Type: function.StaticReturnType(cty.DynamicPseudoType),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if len(args) > 2 {
				return cty.DynamicVal, errors.New("want a path and a default")
			}
			name := at(filepath.Dir(s.config), args[0].AsString())
			if info, err := os.Stat(name); err == nil && info.IsDir() {
				if name = UnitFile(name, nil); name == "" {
					return cty.DynamicVal, errors.New("there is no such file")
				}
			}
			if !exists(name) {
				if len(args) == 2 {
					return args[1], nil
				}
				return cty.DynamicVal, errors.New("there is no such file")
			}
			switch base := filepath.Base(name); {
			case base == stackFile, base == "terragrunt.autoinclude.stack.hcl":
				return s.unknown(cty.DynamicPseudoType, "a stack that is read as a file"), nil
			case strings.HasSuffix(base, "terragrunt.values.hcl"):
				in := &scope{evaluator: s.evaluator, file: &file{name: name}, config: s.config}
				if v, ok := in.stackValues(); ok {
					return v, nil
				}
			}
			in, err := s.open(name, name, nil)
			if err != nil {
				s.note(s.because1(err, name))
				return cty.DynamicVal, nil
			}
			return in.asObject([]hcl.Traversal{{hcl.TraverseAttr{Name: "locals"}}, {hcl.TraverseAttr{Name: "inputs"}}}), nil
		},
	})
}
