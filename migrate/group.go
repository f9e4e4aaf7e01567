package migrate

// Group is findings of one kind, with one way to mend them.
type Group struct {
	ID       string    // that of its findings
	Severity Severity  // that of its findings
	Fix      string    // that of its findings; may be empty
	Findings []Finding // not empty, in their order
}

// Groups puts findings of a kind together, in the order of the first of each: hundreds of roots have the same to be
// said of.
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
	Status, Why, Fix string // that of its moves; all may be empty but Status
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
