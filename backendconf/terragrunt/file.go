package terragrunt

import (
	"encoding/json"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/statelatch/statelatch/backendconf"
)

// file is a parsed file.
type file struct {
	name string // absolute
	data []byte
	body hcl.Body
}

// block is a block of a file, in either syntax.
type block struct {
	labels []string
	body   hcl.Body
	at     hcl.Range
}

// parse reads a file once.
func (e *evaluator) parse(name string) (*file, error) {
	name = filepath.Clean(name)
	if f := e.parsed[name]; f != nil {
		return f, nil
	}
	data, err := e.tree.read(name)
	if err != nil {
		return nil, Unknown{What: "a file (" + cause(err).Error() + ")", File: e.tree.rel(name), Line: 1}.err()
	}
	body, err := backendconf.ParseHCL(data, name)
	if err != nil {
		return nil, Unknown{What: "a file that has a syntax error", File: e.tree.rel(name), Line: 1}.err()
	}
	f := &file{name: name, data: data, body: body}
	e.parsed[name] = f
	e.order = append(e.order, name)
	return f, nil
}

// blocks are the blocks of a type, with as many labels as they have.
func (f *file) blocks(kind string) []block {
	if body, native := f.body.(*hclsyntax.Body); native {
		var found []block
		for _, b := range body.Blocks {
			if b.Type == kind {
				found = append(found, block{b.Labels, b.Body, b.TypeRange})
			}
		}
		return found
	}
	schema := hcl.BlockHeaderSchema{Type: kind}
	if kind == "include" && !f.bareInclude() || kind == "feature" || kind == "generate" {
		schema.LabelNames = []string{"name"}
	}
	content, _, _ := f.body.PartialContent(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{schema}})
	var found []block
	for _, b := range content.Blocks {
		found = append(found, block{b.Labels, b.Body, b.DefRange})
	}
	return found
}

// bareInclude reports whether a JSON file has an include without a name.
func (f *file) bareInclude() bool {
	var doc struct {
		Include map[string]json.RawMessage `json:"include"`
	}
	if json.Unmarshal(f.data, &doc) != nil {
		return false
	}
	return strings.HasPrefix(strings.TrimSpace(string(doc.Include["path"])), `"`)
}

// attribute is one of the file's own.
func (f *file) attribute(name string) *hcl.Attribute {
	content, _, _ := f.body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: name}}})
	return content.Attributes[name]
}

// attributes are those of a block.
func (b block) attributes() hcl.Attributes {
	attrs, _ := b.body.JustAttributes() // a block in it is in error, and is no attribute
	return attrs
}

// locals are the expressions of the locals block.
func (f *file) locals() (map[string]hcl.Expression, error) {
	all := map[string]hcl.Expression{}
	blocks := f.blocks("locals")
	if len(blocks) > 1 {
		return nil, Unknown{What: "more than one locals block", File: f.name, Line: blocks[1].at.Start.Line}.err()
	}
	for _, b := range blocks {
		for name, a := range b.attributes() {
			all[name] = a.Expr
		}
	}
	return all, nil
}
