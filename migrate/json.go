package migrate

import (
	"github.com/statelatch/statelatch/internal/safejson"
)

// The forms that docs/JSON.md documents; fields are only ever added.

// MarshalJSON tells what was found.
func (t *Tree) MarshalJSON() ([]byte, error) {
	return safejson.Marshal(struct {
		Dir      string    `json:"dir"`
		Roots    []Root    `json:"roots"`
		Findings []Finding `json:"findings"`
	}{t.Dir, append([]Root{}, t.Roots...), append([]Finding{}, t.Findings...)})
}

// valueJSON is an argument: the value of a literal, or the expression of what is computed.
type valueJSON struct {
	Value      string `json:"value,omitempty"`
	Expression string `json:"expression,omitempty"`
	File       string `json:"file"`
	Line       int    `json:"line"`
}

func (v Value) forJSON() *valueJSON {
	switch {
	case !v.Set():
		return nil
	case !v.Static:
		return &valueJSON{Expression: v.Source, File: v.File, Line: v.Line}
	}
	return &valueJSON{Value: v.Text, File: v.File, Line: v.Line}
}

type placeJSON struct {
	Kind     string `json:"kind"`
	File     string `json:"file"`
	Line     int    `json:"line"`
	Shadowed bool   `json:"shadowed,omitempty"`
}

// MarshalJSON tells of one root.
func (r *Root) MarshalJSON() ([]byte, error) {
	j := struct {
		Dir         string      `json:"dir"`
		Variant     string      `json:"variant,omitempty"`
		Tool        string      `json:"tool"`
		Phase       Phase       `json:"phase"`
		Engine      Verdict     `json:"engine"`
		Constraints []string    `json:"constraints,omitempty"`
		Ref         string      `json:"ref,omitempty"`
		Bucket      *valueJSON  `json:"bucket,omitempty"`
		Key         *valueJSON  `json:"key,omitempty"`
		Region      *valueJSON  `json:"region,omitempty"`
		Table       *valueJSON  `json:"dynamodb_table,omitempty"`
		UseLockfile *valueJSON  `json:"use_lockfile,omitempty"`
		Encrypt     *valueJSON  `json:"encrypt,omitempty"`
		Places      []placeJSON `json:"places"`
	}{
		Dir: r.Dir, Variant: r.Variant, Tool: r.Tool, Phase: r.Phase, Engine: r.Engine.Verdict,
		Constraints: r.Engine.Constraints, Bucket: r.Args["bucket"].forJSON(), Key: r.Args["key"].forJSON(),
		Region: r.Args["region"].forJSON(), Table: r.Table().forJSON(), UseLockfile: r.Args[argLockfile].forJSON(),
		Encrypt: r.Args["encrypt"].forJSON(), Places: []placeJSON{},
	}
	if ref, ok := r.Ref(); ok {
		j.Ref = ref.String()
	}
	for _, p := range r.Places {
		j.Places = append(j.Places, placeJSON{p.Kind, p.File, p.Line, p.Shadowed})
	}
	return safejson.Marshal(j)
}

// MarshalJSON tells what a plan has for a root.
func (m Move) MarshalJSON() ([]byte, error) {
	return safejson.Marshal(struct {
		Dir     string       `json:"dir"`
		Variant string       `json:"variant,omitempty"`
		Status  string       `json:"status"`
		Why     string       `json:"why,omitempty"`
		Fix     string       `json:"fix,omitempty"`
		Manual  []ManualEdit `json:"manual,omitempty"`
	}{m.Root.Dir, m.Root.Variant, m.Status, m.Why, m.Fix, m.Manual})
}

// MarshalJSON is the edit as a diff.
func (f FileEdit) MarshalJSON() ([]byte, error) {
	return safejson.Marshal(struct {
		Path  string   `json:"path"`
		Roots []string `json:"roots"`
		Diff  string   `json:"diff"`
	}{f.Path, f.Roots, f.Diff()})
}
