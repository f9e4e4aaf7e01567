package migrate

import "path"

// Group is findings of one kind, with one way to mend them.
type Group struct {
	ID       string
	Severity Severity
	Fix      string
	Findings []Finding // not empty, in their order
}

// Groups puts findings of a kind together, in the order of the first of each: hundreds of roots have the same to be said of.
func Groups(findings []Finding) []Group {
	type key struct {
		id, fix  string
		severity Severity
	}
	index := map[key]int{}
	var groups []Group
	for _, f := range findings {
		k := key{f.ID, f.Fix, f.Severity}
		i, ok := index[k]
		if !ok {
			i = len(groups)
			index[k] = i
			groups = append(groups, Group{ID: f.ID, Severity: f.Severity, Fix: f.Fix})
		}
		groups[i].Findings = append(groups[i].Findings, f)
	}
	return groups
}

// MoveGroup is roots of a plan of which the same is to be said.
type MoveGroup struct {
	Status, Why, Fix string
	Moves            []Move // not empty, in their order
}

// Groups puts the roots together that stay for one reason.
func (p *Plan) Groups() []MoveGroup {
	type key struct{ status, why, fix string }
	index := map[key]int{}
	var groups []MoveGroup
	for _, m := range p.Moves {
		k := key{m.Status, m.Why, m.Fix}
		if m.Status == MoveManual {
			k.fix = "" // it names the root
		}
		i, ok := index[k]
		if !ok {
			i = len(groups)
			index[k] = i
			groups = append(groups, MoveGroup{Status: m.Status, Why: m.Why, Fix: m.Fix})
		}
		groups[i].Moves = append(groups[i].Moves, m)
	}
	return groups
}

// Init is how init is run again in a root: the words of a command, to be run in Dir.
type Init struct {
	Name  string   // of the root
	Dir   string   // relative to the tree, with slashes
	Words []string // the engine first
}

// Inits are the commands that have the engines of the roots that a plan moves read their configurations anew. The state
// stays where it is.
func (p *Plan) Inits() []Init {
	var all []Init
	for _, m := range p.Moves {
		if m.Status != MoveEdit {
			continue
		}
		r := m.Root
		words := []string{r.Tool, "init", "-reconfigure"}
		for _, place := range r.Places {
			if place.Kind == KindBackendConfig {
				words = append(words, "-backend-config="+relative(r.Dir, place.File))
			}
		}
		all = append(all, Init{r.Name(), r.Dir, words})
	}
	return all
}

// relative is how a file of the tree is named from a directory of it.
func relative(dir, file string) string {
	up := ""
	for dir != "." && !within(dir, file) {
		dir = path.Dir(dir)
		up += "../"
	}
	if dir != "." {
		file = file[len(dir)+1:]
	}
	return up + file
}

func within(dir, file string) bool {
	return len(file) > len(dir) && file[:len(dir)] == dir && file[len(dir)] == '/'
}
