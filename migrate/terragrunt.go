package migrate

import (
	"bytes"
	"encoding/json"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/statelatch/statelatch/backendconf/terragrunt"
	"github.com/statelatch/statelatch/internal/treefile"
)

// unitFile is the name of the file that makes a directory a unit of terragrunt.
const unitFile = "terragrunt.hcl"

// readTerragrunt reads a file of terragrunt. Other programs' .hcl files have nothing in them that it looks for.
func readTerragrunt(src *source) (document, error) {
	var doc document
	if strings.HasSuffix(src.rel, ".hcl.json") && containsAny(src.data, `"remote_state"`, `"generate"`) {
		doc.skipped = []unread{{1, "terragrunt's JSON is not read"}}
	}
	if !strings.HasSuffix(src.rel, ".hcl") || !containsAny(src.data, "remote_state", "generate", "include", "terraform") {
		// of terraform_binary, too
		return doc, nil
	}
	parsed, err := parse(src)
	if err != nil {
		if path.Base(src.rel) != unitFile && !bytes.Contains(src.data, []byte("remote_state")) {
			err = nil
		}
		return doc, err
	}
	body, ok := parsed.(*hclsyntax.Body)
	if !ok {
		return doc, nil
	}
	if a := body.Attributes["terraform_version_constraint"]; a != nil {
		doc.requires = append(doc.requires, require{valueOf(a.Expr, src.data).Text, a.NameRange.Start.Line})
	}
	if a := body.Attributes["terraform_binary"]; a != nil {
		doc.binary = toolNamed(strings.TrimSuffix(path.Base(valueOf(a.Expr, src.data).Text), ".exe"))
	}
	for _, b := range body.Blocks {
		switch b.Type {
		case "include":
			if a := b.Body.Attributes["path"]; a != nil {
				doc.includes = append(doc.includes, include{a.Expr, b.TypeRange.Start.Line})
			}
		case "terraform":
			if a := b.Body.Attributes["source"]; a != nil {
				doc.call(valueOf(a.Expr, src.data))
			}
		case "generate":
			readGenerate(src, b, &doc)
		case "remote_state":
			readRemoteState(src, b, &doc)
		}
	}
	return doc, nil
}

func containsAny(data []byte, words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return bytes.Contains(data, []byte(w)) })
}

// readRemoteState reads remote_state { backend = "s3" config = {...} }.
func readRemoteState(src *source, b *hclsyntax.Block, doc *document) {
	line := b.TypeRange.Start.Line
	kind := b.Body.Attributes["backend"]
	if kind == nil {
		return
	}
	switch v := valueOf(kind.Expr, src.data); {
	case !v.Static:
		doc.skipped = append(doc.skipped, unread{line, "the backend of remote_state is computed"})
		return
	case v.Text != "s3":
		return
	}
	p := &Place{Kind: KindRemoteState, Line: line, syntax: syntaxObject}
	doc.places = append(doc.places, p)
	config := b.Body.Attributes["config"]
	if config == nil {
		return
	}
	p.Line = config.NameRange.Start.Line
	var ok bool
	if p.entries, ok = itemsOf(config.Expr, src.data); !ok {
		p.manual, p.hidden = "its config is computed", true
	}
}

// readGenerate reads what a generate block writes, if that has a backend.
func readGenerate(src *source, b *hclsyntax.Block, doc *document) {
	contents := b.Body.Attributes["contents"]
	if contents == nil {
		return
	}
	line := contents.NameRange.Start.Line
	r := contents.Expr.Range()
	if text := r.SliceBytes(src.data); bytes.HasPrefix(text, []byte("<<")) {
		from, to, ok := heredoc(text)
		if !ok || !bytes.Contains(text, []byte("terraform")) {
			return
		}
		// Parsed where it stands, so that offsets are the file's.
		f, diags := treefile.ParseHCL(text[from:to], src.rel,
			hcl.Pos{Line: r.Start.Line + 1, Column: 1, Byte: r.Start.Byte + from})
		if diags.HasErrors() {
			if bytes.Contains(text, []byte("backend")) {
				doc.skipped = append(doc.skipped,
					unread{line, "the contents of generate are a template that cannot be read as it stands"})
			}
			return
		}
		inner := readBody(src, f.Body, KindGenerate)
		doc.places = append(doc.places, inner.places...)
		doc.requires = append(doc.requires, inner.requires...)
		return
	}
	v := valueOf(contents.Expr, src.data)
	if !v.Static {
		if a := b.Body.Attributes["path"]; strings.Contains(strings.Join(b.Labels, " "), "backend") ||
			a != nil && strings.Contains(valueOf(a.Expr, src.data).Text, "backend") {
			doc.skipped = append(doc.skipped, unread{line, "the contents of generate are computed"})
		}
		return
	}
	quoted := &source{rel: src.rel, data: []byte(v.Text)}
	f, diags := treefile.ParseHCL(quoted.data, src.rel, hcl.InitialPos)
	if diags.HasErrors() {
		return
	}
	inner := readBody(quoted, f.Body, KindGenerate)
	for _, p := range inner.places {
		p.Line, p.manual = line, "it stands in a quoted string"
		for i := range p.entries {
			p.entries[i].line = line
		}
	}
	doc.places = append(doc.places, inner.places...)
	doc.requires = append(doc.requires, inner.requires...)
}

// heredoc returns where the lines of a heredoc begin and end.
func heredoc(text []byte) (from, to int, ok bool) {
	first, _, found := bytes.Cut(text, []byte("\n"))
	marker := bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimPrefix(first, []byte("<<")), []byte("-")))
	from = len(first) + 1
	end := bytes.LastIndex(text, marker)
	if !found || end < from {
		return 0, 0, false
	}
	return from, bytes.LastIndexByte(text[:end], '\n') + 1, true
}

// target is the file that an include names; empty if that is computed. exists tells which files the tree has.
func (i include) target(dir string, data []byte, exists func(string) bool) string {
	if v := valueOf(i.expr, data); v.Static {
		return path.Join(dir, v.Text)
	}
	call, diags := hcl.ExprCall(unwrapped(i.expr))
	if diags.HasErrors() || call.Name != "find_in_parent_folders" {
		return ""
	}
	name := unitFile
	if len(call.Arguments) > 0 {
		v := valueOf(call.Arguments[0], data)
		if !v.Static {
			return ""
		}
		name = v.Text
	}
	for dir != "." && dir != "/" {
		dir = path.Dir(dir)
		if file := path.Join(dir, name); exists(file) {
			return file
		}
	}
	return ""
}

// unwrapped is x of "${x}".
func unwrapped(expr hcl.Expression) hcl.Expression {
	if w, ok := expr.(*hclsyntax.TemplateWrapExpr); ok {
		return w.Wrapped
	}
	return expr
}

// evaluate is what terragrunt would make of the unit in dir; empty where that cannot be known.
func (s *scanner) evaluate(dir string) terragrunt.Unit {
	unit, done := s.units[dir]
	if !done {
		var err error
		if unit, err = terragrunt.Evaluate(terragrunt.Options{
			Dir:  filepath.Join(s.root, filepath.FromSlash(dir)),
			Tree: s.root,
		}); err != nil {
			unit = terragrunt.Unit{Includes: unit.Includes}
		}
		if s.units == nil {
			s.units = map[string]terragrunt.Unit{}
		}
		s.units[dir] = unit
	}
	return unit
}

// resolveUnit puts the values that terragrunt would compute in place of those that no literal gives. It evaluates files
// of the tree alone and runs nothing; what depends on the environment stays unknown, as the scan's is not that of
// whoever runs the unit.
func (s *scanner) resolveUnit(r *Root) {
	unit := s.evaluate(r.Dir)
	if unit.Type != "s3" {
		return
	}
	for name, arg := range unit.Args {
		v, ok := r.Args[name]
		switch {
		case v.Static:
		case len(arg.Unknown) > 0:
			if v.unknown = arg.Unknown[0].String(); ok {
				r.Args[name] = v
			}
		case arg.Value == nil:
			delete(r.Args, name)
		default:
			if !ok {
				v.File, v.Line = r.Places[0].File, r.Places[0].Line
			}
			v.Static = true
			if v.Text, v.quoted = arg.Value.(string); !v.quoted {
				text, _ := json.Marshal(arg.Value)
				v.Text = string(text)
			}
			r.Args[name] = v
		}
	}
}
