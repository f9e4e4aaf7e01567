package migrate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
)

// What a plan has for a root.
const (
	MoveEdit    = "edit"    // its files are edited
	MoveDone    = "done"    // it is in that phase already, or beyond
	MoveRefused = "refused" // it may not move yet
	MoveManual  = "manual"  // a person has to make the edit
)

// Move is what a plan has for a root.
type Move struct {
	Root   *Root        // that is moved
	Status string       // one of the Move constants
	Why    string       // of refused and manual
	Fix    string       // what to do about it; may be empty
	Manual []ManualEdit // of manual: what a person has to edit

	places []*Place // that are edited, or would be
}

// ManualEdit is an edit for a person to make.
type ManualEdit struct {
	File string `json:"file"` // relative to the tree, with slashes
	Line int    `json:"line"` // in File, from 1
	Text string `json:"text"` // one line for people: what to write there
}

// FileEdit is what becomes of one file.
type FileEdit struct {
	Path          string   // relative to the tree
	Before, After []byte   // the whole content
	Roots         []string // the names of the roots that it moves

	real string
}

// Plan is how the roots of a tree get to a phase.
type Plan struct {
	Phase int        // 1 or 2
	Moves []Move     // one for each root, in their order
	Files []FileEdit // by Path
	Loose []Finding  // tables in scripts, templates and terraform_remote_state, which a person has to edit
}

// Plan makes a plan of phase 1, which adds use_lockfile = true beside the table, or of phase 2, which removes the table
// with its endpoint. It writes nothing. Roots that share a state or an edited file move together or not at all. Errors
// match [statelatch.ErrInvalid].
func (t *Tree) Plan(phase int) (*Plan, error) {
	if phase != 1 && phase != 2 {
		return nil, fmt.Errorf("%w phase %d: want 1 (both locks) or 2 (the lock object alone)", statelatch.ErrInvalid, phase)
	}
	p := &Plan{Phase: phase, Moves: make([]Move, len(t.Roots))}
	for i := range t.Roots {
		p.Moves[i] = t.move(&t.Roots[i], phase)
	}
	for _, f := range t.Findings {
		if f.ID == idCommandLine || f.ID == idTemplate || f.ID == idRemoteState && phase == 2 {
			p.Loose = append(p.Loose, f)
		}
	}
	t.together(p)
	return p, t.editFiles(p)
}

// move judges one root by itself.
func (t *Tree) move(r *Root, phase int) Move {
	m := Move{Root: r, places: r.targets(phase)}
	refuse := func(why, fix string) Move {
		m.Status, m.Why, m.Fix = MoveRefused, why, fix
		return m
	}
	switch {
	case r.Phase == PhaseNone:
		return refuse("it has no lock, so there is none to move", "add use_lockfile = true")
	case r.Phase == PhaseUnknown && r.Args[argLockfile].Set() && !r.Args[argLockfile].Static:
		return m.byHand(r, phase, errComputed.why, r.Places)
	case r.Phase == PhaseUnknown && slices.ContainsFunc(r.Places, func(p *Place) bool { return p.hidden }):
		return m.byHand(r, phase, "its arguments are computed", r.Places)
	case r.Phase == PhaseUnknown:
		return refuse("the tree does not have all its arguments", "look at what runs init there")
	case phase == 2 && r.Phase == PhaseTable:
		return refuse("it is not in phase 1 yet: clients with the table alone and with the lock object alone do not "+
			"exclude each other", "statelatch migrate apply -phase 1, and wait until every checkout and job has it")
	}
	targets := m.places
	if len(targets) == 0 {
		m.Status = MoveDone
		return m
	}
	if r.Engine.Verdict != EngineKnows {
		says := "nothing in the tree says which engine it is for"
		if len(r.Engine.Constraints) > 0 {
			says = strings.Join(r.Engine.Constraints, "; ")
		}
		return refuse("it admits engines before 1.10, which refuse use_lockfile: "+says, r.Engine.fix)
	}
	if phase == 2 {
		for _, p := range targets {
			if p.Shadowed && !p.arg(argLockfile).isTrue() {
				return refuse(fmt.Sprintf("the replaced block at %s:%d is not in phase 1 yet", p.File, p.Line),
					"statelatch migrate apply -phase 1")
			}
		}
	}
	if r.blocked != "" {
		return m.byHand(r, phase, r.blocked, targets)
	}
	for _, p := range targets {
		if why := t.unsafe(p, phase); why != "" {
			return m.byHand(r, phase, why, targets)
		}
	}
	m.Status = MoveEdit
	return m
}

// unsafe is why a place cannot be edited; empty if it can.
func (t *Tree) unsafe(p *Place, phase int) string {
	_, err := edit(t.sources[p.source.real], phase, map[int]bool{p.index: true})
	if err == nil {
		return ""
	}
	if why, ok := isNotSafe(err); ok {
		return why
	}
	return err.Error()
}

// byHand leaves a root to a person.
func (m Move) byHand(r *Root, phase int, why string, places []*Place) Move {
	m.Status, m.Why = MoveManual, why
	text := "add use_lockfile = true beside dynamodb_table"
	if phase == 2 {
		text = "remove dynamodb_table and an endpoint of DynamoDB; keep use_lockfile = true"
	}
	for _, p := range places {
		line := p.Line
		if e := p.entry(argTable); e != nil {
			line = e.line
		}
		if len(places) == 1 || p.hasTable() || p.hidden || p.has(argLockfile) {
			m.Manual = append(m.Manual, ManualEdit{p.File, line, text})
		}
	}
	m.Fix = "make the edit by hand in " + r.Name()
	return m
}

// arg is an argument of the place; the zero Value if there is none.
func (p *Place) arg(name string) Value {
	if e := p.entry(name); e != nil {
		return e.value
	}
	return Value{}
}

// targets are the places that a phase changes. A block that an override replaces moves along: the override may be
// missing from another checkout.
func (r *Root) targets(phase int) []*Place {
	var targets []*Place
	for _, p := range r.Places {
		lockfile := p.arg(argLockfile)
		off := lockfile.Static && lockfile.Set() && !lockfile.isTrue()
		switch {
		case phase == 1 && r.UseLockfile() && !p.Shadowed:
		case phase == 1 && (off || p.hasTable() && !lockfile.isTrue()):
			targets = append(targets, p)
		case phase == 2 && p.hasTable():
			targets = append(targets, p)
		case phase == 2 && r.Table().Set() && (p.has(argEndpoint) ||
			p.has(argEndpoints) && strings.Contains(p.arg(argEndpoints).Source, "dynamodb")):
			targets = append(targets, p)
		}
	}
	return targets
}

// together holds back the roots that share a state with one that does not move. One that shares no more than a file
// with it, such as the -backend-config file of an account, gets its use_lockfile in its own block instead.
func (t *Tree) together(p *Plan) {
	for changed := true; changed; {
		changed = false
		owner := map[string]*Move{} // of a state or a file that cannot move
		for i := range p.Moves {
			m := &p.Moves[i]
			if m.Status == MoveRefused || m.Status == MoveManual {
				for _, key := range m.ties() {
					if owner[key] == nil {
						owner[key] = m
					}
				}
			}
		}
		for i := range p.Moves {
			m := &p.Moves[i]
			if m.Status != MoveEdit {
				continue
			}
			for _, key := range m.ties() {
				o := owner[key]
				if o == nil {
					continue
				}
				changed = true
				if own := t.own(m, p.Phase); own != nil && owner[own.source.target] == nil && owner[m.Root.identity()] == nil {
					m.places = []*Place{own}
					break
				}
				m.Status, m.Why, m.Fix = MoveRefused,
					fmt.Sprintf("it shares %s with %s, which does not move: %s", key, o.Root.Name(), o.Why), o.Fix
				break
			}
		}
	}
}

// own is the root's own block if phase 1 can be set there instead of where its table stands; nil if not.
func (t *Tree) own(m *Move, phase int) *Place {
	if phase != 1 || m.Root.Args[argLockfile].Set() {
		return nil
	}
	i := slices.IndexFunc(m.Root.Places, func(p *Place) bool { return p.Kind == KindBackend && !p.Shadowed })
	if i < 0 {
		return nil
	}
	own := m.Root.Places[i]
	if slices.Contains(m.places, own) || slices.ContainsFunc(m.Root.Places, func(p *Place) bool { return p.Shadowed }) ||
		t.unsafe(own, phase) != "" {
		return nil
	}
	return own
}

// ties are what binds a root to others: its state, and the files that are edited for it.
func (m *Move) ties() []string {
	var ties []string
	if id := m.Root.identity(); id != "" {
		ties = append(ties, id)
	}
	for _, p := range m.places {
		ties = append(ties, p.source.target)
	}
	return ties
}

// editFiles makes the edits of all roots that move.
func (t *Tree) editFiles(p *Plan) error {
	places := map[string]map[int]bool{}
	roots := map[string][]string{}
	for _, m := range p.Moves {
		if m.Status != MoveEdit {
			continue
		}
		for _, place := range m.places {
			real := place.source.real
			if places[real] == nil {
				places[real] = map[int]bool{}
			}
			places[real][place.index] = true
			if name := m.Root.Name(); !slices.Contains(roots[real], name) {
				roots[real] = append(roots[real], name)
			}
		}
	}
	for real, which := range places {
		src := t.sources[real]
		after, err := edit(src, p.Phase, which)
		if err != nil {
			return fmt.Errorf("edit %s: %w", src.rel, err)
		}
		p.Files = append(p.Files, FileEdit{Path: src.target, Before: src.data, After: after, Roots: roots[real], real: real})
	}
	slices.SortFunc(p.Files, func(a, b FileEdit) int { return strings.Compare(a.Path, b.Path) })
	return nil
}
