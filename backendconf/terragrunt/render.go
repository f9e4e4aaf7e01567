package terragrunt

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
)

// Render is Resolve, with terragrunt asked for what cannot be evaluated here: it runs program, which is terragrunt or
// the path to it, as `terragrunt render --json` in the unit, and with that whatever the unit says (run_cmd,
// credentials, downloads). Outputs of dependencies are not taken from it: they may be mocks. What is known here must be
// what terragrunt says. Errors as for Resolve.
func Render(ctx context.Context, opts Options, program string) (backendconf.Backend, error) {
	unit, err := Evaluate(opts)
	var unknown *UnknownError
	if err != nil && !errors.As(err, &unknown) {
		return backendconf.Backend{}, err
	}
	if err != nil && unknown.Because.What == dependencyOutputs {
		return backendconf.Backend{}, err
	}
	rendered, err := render(ctx, cmp.Or(opts.Dir, "."), program)
	if err != nil {
		return backendconf.Backend{}, fmt.Errorf("%w terragrunt unit %s: %w", statelatch.ErrInvalid, unit.File, err)
	}
	if err := unit.complete(rendered); err != nil {
		return backendconf.Backend{}, err
	}
	return unit.backend(opts)
}

// complete fills in what was unknown.
func (u *Unit) complete(rendered backendconf.Block) error {
	if u.Type != "" && u.Type != rendered.Type {
		return fmt.Errorf("%w terragrunt unit %s: terragrunt says backend %q, not %q: give the REF that is right",
			statelatch.ErrInvalid, u.File, rendered.Type, u.Type)
	}
	partial := len(u.Args) > 0
	u.Type = rendered.Type
	for _, name := range slices.Sorted(maps.Keys(rendered.Args)) {
		value := rendered.Args[name]
		have, ok := u.Args[name]
		switch {
		case !ok && !partial, len(have.Unknown) > 0:
			for _, why := range have.Unknown {
				if why.What == dependencyOutputs {
					return &UnknownError{Unit: u.File, Argument: name, Because: why}
				}
			}
			u.Args[name] = Argument{Value: value}
		case fmt.Sprint(have.Value) != fmt.Sprint(value) && backendconf.Known(name):
			return fmt.Errorf("%w terragrunt unit %s: terragrunt says another %s than its files: give the REF that is right",
				statelatch.ErrInvalid, u.File, name)
		}
	}
	return nil
}

// render runs terragrunt and reads the backend out of its answer.
func render(ctx context.Context, dir, program string) (backendconf.Block, error) {
	cmd := exec.CommandContext(ctx, program, "render", "--json")
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return backendconf.Block{}, fmt.Errorf("`terragrunt render --json` failed (%w): %s", err,
			statelatch.Printable(lastLine(stderr.Bytes())))
	}
	var doc struct {
		RemoteState *struct {
			Backend string          `json:"backend"`
			Config  json.RawMessage `json:"config"`
		} `json:"remote_state"`
		Generate map[string]struct {
			Contents string `json:"contents"`
			Disable  bool   `json:"disable"`
		} `json:"generate"`
	}
	// Programs that the unit runs write to stdout, too; the answer is the last line.
	if err := json.Unmarshal([]byte(lastLine(stdout.Bytes())), &doc); err != nil {
		return backendconf.Block{}, errors.New("`terragrunt render --json` did not end with JSON")
	}
	block := backendconf.Block{Source: "terragrunt render"}
	if doc.RemoteState != nil && doc.RemoteState.Backend != "" {
		block.Type = doc.RemoteState.Backend
		d := json.NewDecoder(bytes.NewReader(doc.RemoteState.Config))
		d.UseNumber()
		if err := d.Decode(&block.Args); err != nil {
			return block, errors.New("`terragrunt render --json` has no config in its remote_state")
		}
		return block, whole(block)
	}
	for _, name := range slices.Sorted(maps.Keys(doc.Generate)) {
		if g := doc.Generate[name]; !g.Disable {
			found, err := backendconf.ParseBlock([]byte(g.Contents), "generate "+name)
			if err != nil || found.Type != "" {
				return found, cmp.Or(err, whole(found))
			}
		}
	}
	return block, errors.New("`terragrunt render --json` shows no backend")
}

// whole refuses an answer with an error in it: terragrunt leaves empty what it could not evaluate, and ends well.
func whole(b backendconf.Block) error {
	for _, name := range [...]string{"bucket", "key"} {
		if value, given := b.Args[name]; given && value == "" {
			return fmt.Errorf("`terragrunt render --json` could not evaluate %s", name)
		}
	}
	return nil
}

func lastLine(text []byte) string {
	text = bytes.TrimSpace(text)
	return strings.TrimSpace(string(text[bytes.LastIndexByte(text, '\n')+1:]))
}
