package backendconf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/treefile"
)

const initFirst = "run `terraform init` (or `tofu init`) first, so that the value can be read from its cache"

var (
	fileSchema      = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "terraform"}}}
	terraformSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "backend", LabelNames: []string{"type"}},
		{Type: kindCloud},
		{Type: kindStateStore, LabelNames: []string{"type"}},
	}}
)

// maxDirectory is how many bytes the configuration files of a directory may have.
const maxDirectory = 4 * treefile.MaxSize

// readConfiguration reads the backend block of the configuration files in dir. Its kind is
// empty if there is none.
func readConfiguration(dir string) (source, error) {
	primary, overrides, err := configurationFiles(dir)
	if err != nil {
		return source{}, err
	}
	read := within(maxDirectory)
	var found source
	for _, file := range primary {
		s, err := readFile(file, read)
		if err != nil {
			return source{}, err
		}
		if found.kind != "" && s.kind != "" {
			return source{}, fmt.Errorf("%w configuration: %s and %s both have a backend; keep one", statelatch.ErrInvalid,
				found.source, s.source)
		}
		if s.kind != "" {
			found = s
		}
	}
	for _, file := range overrides { // each replaces the whole block of those before it
		s, err := readFile(file, read)
		if err != nil {
			return source{}, err
		}
		if s.kind != "" {
			found = s
		}
	}
	return found, nil
}

// within reads files until they are left bytes together.
func within(left int64) readFunc {
	return func(name string, limit int64) ([]byte, error) {
		data, err := treefile.Read(name, min(limit, left))
		left -= int64(len(data))
		return data, err
	}
}

// suffixes of configuration files. OpenTofu reads NAME.tofu in place of NAME.tf.
var suffixes = []string{".tofu.json", ".tf.json", ".tofu", ".tf"}

// configurationFiles sorts the files that the engines would read.
func configurationFiles(dir string) (primary, overrides []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("%w directory: %w", statelatch.ErrInvalid, err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = !e.IsDir()
	}
	for _, e := range entries {
		name := e.Name()
		i := slices.IndexFunc(suffixes, func(s string) bool { return strings.HasSuffix(name, s) })
		if i < 0 || e.IsDir() || strings.HasPrefix(name, ".") {
			continue
		}
		base := strings.TrimSuffix(name, suffixes[i])
		if tofu := base + strings.Replace(suffixes[i], ".tf", ".tofu", 1); tofu != name && names[tofu] {
			continue
		}
		if base == "override" || strings.HasSuffix(base, "_override") {
			overrides = append(overrides, filepath.Join(dir, name))
		} else {
			primary = append(primary, filepath.Join(dir, name))
		}
	}
	return primary, overrides, nil
}

// readFile reads the backend block of one file.
func readFile(file string, read readFunc) (source, error) {
	body, err := parse(file, read)
	if err != nil {
		return source{}, err
	}
	return backendIn(body, file)
}

// backendIn reads the backend block of a file's body.
func backendIn(body hcl.Body, file string) (found source, err error) {
	// What is not asked for may be in error; that is the engine's to say.
	content, _, _ := body.PartialContent(fileSchema)
	for _, block := range content.Blocks {
		inner, _, diags := block.Body.PartialContent(terraformSchema)
		if diags.HasErrors() {
			return source{}, hclError(diags)
		}
		for _, b := range inner.Blocks {
			if found.kind != "" {
				return source{}, fmt.Errorf("%w configuration: %s has more than one backend; keep one", statelatch.ErrInvalid, file)
			}
			found = source{kind: b.Type, source: file}
			if b.Type != "backend" {
				continue
			}
			found.kind = b.Labels[0]
			if found.kind != "s3" {
				continue
			}
			if found.args, err = attributes(b.Body); err != nil {
				return source{}, err
			}
		}
	}
	return found, nil
}

// readFunc is how a file is read: one of a tree, or one that a person named.
type readFunc func(name string, limit int64) ([]byte, error)

func parse(file string, read readFunc) (hcl.Body, error) {
	data, err := read(file, treefile.MaxSize)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w file %s: there is none of that name", statelatch.ErrInvalid, file)
		}
		return nil, fmt.Errorf("%w file: %w", statelatch.ErrInvalid, err)
	}
	return ParseHCL(data, file)
}

// ParseHCL parses HCL, or its JSON form if name ends in ".json". The text may be hostile. Errors match
// [statelatch.ErrInvalid] and show nothing of it.
func ParseHCL(text []byte, name string) (hcl.Body, error) {
	var f *hcl.File
	var diags hcl.Diagnostics
	if strings.HasSuffix(name, ".json") {
		f, diags = treefile.ParseJSON(text, name)
	} else {
		f, diags = treefile.ParseHCL(text, name, hcl.InitialPos)
	}
	if diags.HasErrors() {
		return nil, hclError(diags)
	}
	return f.Body, nil
}

// hclError says where and what, without the source text, which may hold a secret.
func hclError(diags hcl.Diagnostics) error {
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		if d.Subject == nil {
			return fmt.Errorf("%w configuration: %s", statelatch.ErrInvalid, d.Summary)
		}
		return fmt.Errorf("%w configuration: %s: %s", statelatch.ErrInvalid, d.Subject, d.Summary)
	}
	return nil
}

// attributes evaluates the arguments of a body, which must be literals.
func attributes(body hcl.Body) (arguments, error) {
	attrs, diags := body.JustAttributes()
	if diags.HasErrors() {
		return nil, hclError(diags)
	}
	args := make(arguments, len(attrs))
	for name, attr := range attrs {
		value, err := literal(name, attr.Expr)
		if err != nil {
			return nil, fmt.Errorf("%w (%s)", err, attr.Range)
		}
		args[name] = value
	}
	return args, nil
}

// literal is the value of an expression that refers to nothing.
func literal(name string, expr hcl.Expression) (any, error) {
	value, ok := treefile.Literal(expr)
	if !ok {
		return nil, fmt.Errorf("%w argument %s: its value is computed; %s", statelatch.ErrInvalid, name, initFirst)
	}
	data, err := ctyjson.Marshal(value, value.Type())
	if err != nil {
		return nil, fmt.Errorf("%w argument %s: its value cannot be read", statelatch.ErrInvalid, name)
	}
	return fromJSON(data)
}

func fromJSON(data []byte) (value any, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	err = d.Decode(&value)
	return value, err
}

// readBackendConfig reads the values of -backend-config, later ones over earlier ones.
func readBackendConfig(dir string, items []string) (arguments, error) {
	all := arguments{}
	for _, item := range items {
		name, text, ok := strings.Cut(item, "=")
		if !ok {
			file := item
			if !filepath.IsAbs(file) {
				file = filepath.Join(dir, file)
			}
			body, err := parse(file, treefile.ReadNamed)
			if err != nil {
				return nil, fmt.Errorf("-backend-config: %w", err)
			}
			args, err := attributes(body)
			if err != nil {
				return nil, fmt.Errorf("-backend-config: %w", err)
			}
			for name, value := range args {
				if _, known := kinds[name]; !known {
					return nil, fmt.Errorf("-backend-config: %s: %w", file, unknownArgument(name))
				}
				all[name] = value
			}
			continue
		}
		value, err := pair(name, text)
		if err != nil {
			return nil, fmt.Errorf("-backend-config: %w", err)
		}
		all[name] = value
	}
	return all, nil
}

// pair reads the value of NAME=VALUE as the engines do: as it stands where the argument
// is a string, a boolean or a number, as an expression where it is more.
func pair(name, text string) (any, error) {
	kind, known := kinds[name]
	switch {
	case !known:
		return nil, unknownArgument(name)
	case kind.scalar():
		return text, nil
	}
	expr, diags := treefile.ParseExpression([]byte(text), name, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, fmt.Errorf("%w argument %s: its value is not an expression such as {a = \"b\"} or [\"a\"]",
			statelatch.ErrInvalid, name)
	}
	if key := hcl.ExprAsKeyword(expr); key != "" {
		return nil, fmt.Errorf("%w argument %s: its value is not an expression such as {a = \"b\"} or [\"a\"]",
			statelatch.ErrInvalid, name)
	}
	return literal(name, expr)
}

func unknownArgument(name string) error {
	return fmt.Errorf("%w argument %s: backend \"s3\" has none of that name", statelatch.ErrInvalid, name)
}
