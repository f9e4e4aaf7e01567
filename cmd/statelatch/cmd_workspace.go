package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/identity"
	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/statelatch/statelatch/state"
	"github.com/urfave/cli/v3"
)

type workspaceOptions struct {
	targetOptions
	requestOptions
	force    bool
	approved bool
}

const workspaceRef = "REF is the state of the default workspace; the prefix of the others is 'env:' unless " +
	"the backend or\n" +
	"-backend-config workspace_key_prefix=... says otherwise.\n\n"

func workspaceCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "workspace",
		Usage:     "list, create and delete workspaces",
		UsageText: "statelatch workspace list|new|delete [flags] [NAME] [REF]",
		Commands: []*cli.Command{
			{
				Name:      "list",
				Usage:     "list the workspaces",
				UsageText: "statelatch workspace list [flags] [REF]",
				Description: "Prints one name a line, 'default' first; of a working directory as engines do, with a star before " +
					"the one it is on. " + workspaceRef + "Example:\n  statelatch workspace list -chdir infra",
				Flags: targetFlags(),
				Action: act(term, func(c *cli.Command) (workspaceOptions, error) {
					at, err := targetAt(c, "REF")
					return workspaceOptions{targetOptions: at}, err
				}, runWorkspaceList),
			},
			{
				Name:      "new",
				Usage:     "create a workspace with an empty state",
				UsageText: "statelatch workspace new [flags] NAME [REF]",
				Description: "Creates the empty state of a workspace, if there is none; takes no lock, because a create excludes any other.\n" +
					"Does not select it: set TF_WORKSPACE or use the engine's 'workspace select'. " + workspaceRef +
					"Example:\n  statelatch workspace new staging",
				Flags:  targetFlags(),
				Action: act(term, namedWorkspace, runWorkspaceNew),
			},
			{
				Name:      "delete",
				Usage:     "delete a workspace's state, under its lock",
				UsageText: "statelatch workspace delete [flags] NAME [REF]",
				Description: "Deletes the state on the condition that nobody wrote it meanwhile; the lock is held until it is gone. A state\n" +
					"that has resources is refused without -force: nothing would manage them any more. Asks before it deletes the workspace that\n" +
					"the working directory is on. " + workspaceRef +
					"Example:\n  statelatch workspace delete staging",
				Flags: append(append([]cli.Flag{
					&cli.BoolFlag{Name: "force", Usage: "delete although it has, or may have, resources"},
					&cli.BoolFlag{Name: "auto-approve", Usage: "do not ask, also not about the workspace that the directory is on"},
				}, requestFlags()...), targetFlags()...),
				Action: act(term, func(c *cli.Command) (workspaceOptions, error) {
					o, err := namedWorkspace(c)
					if err == nil {
						o.requestOptions, err = requestOf(c)
					}
					o.force, o.approved = c.Bool("force"), c.Bool("auto-approve")
					return o, err
				}, runWorkspaceDelete),
			},
		},
	}
}

// namedWorkspace reads NAME [REF].
func namedWorkspace(c *cli.Command) (workspaceOptions, error) {
	args := c.Args().Slice()
	if len(args) < 1 || len(args) > 2 || strings.HasPrefix(args[0], "s3://") {
		return workspaceOptions{}, usageError{fmt.Errorf("want NAME [REF], %s", cliargs.Got(args))}
	}
	o := workspaceOptions{targetOptions: targetOf(c, strings.Join(args[1:], ""))}
	o.workspace = args[0]
	return o, statelatch.ValidateWorkspace(o.workspace)
}

// openWorkspace connects to the workspace that the command names, else to the default one.
func (o workspaceOptions) openWorkspace(ctx context.Context, term terminal) (target, state.Workspaces, error) {
	t, err := o.openState(ctx, term, func(b backendconf.Backend) (statelatch.Ref, error) {
		b.Workspace = cmp.Or(o.workspace, statelatch.DefaultWorkspace)
		return b.Ref()
	})
	if err != nil {
		return target{}, state.Workspaces{}, err
	}
	return t, state.Workspaces{Store: t.Store, Key: t.Backend.Key, Prefix: t.Backend.WorkspaceKeyPrefix}, nil
}

func runWorkspaceList(ctx context.Context, o workspaceOptions, term terminal) error {
	t, all, err := o.openWorkspace(ctx, term)
	if err != nil {
		return err
	}
	names, err := all.List(ctx)
	if err != nil {
		return err
	}
	current := o.current(t)
	if o.json {
		return term.PrintJSON(struct {
			Workspaces []string `json:"workspaces"`
			Current    string   `json:"current,omitempty"`
		}{names, current})
	}
	for _, name := range names {
		switch {
		case current == "":
			term.Print("%s\n", name)
		case name == current:
			term.Print("* %s\n", name)
		default:
			term.Print("  %s\n", name)
		}
	}
	return nil
}

// current is the workspace that the working directory is on; empty where a REF was named.
func (o workspaceOptions) current(t target) string {
	if o.ref != "" {
		return ""
	}
	return t.Backend.Workspace
}

func runWorkspaceNew(ctx context.Context, o workspaceOptions, term terminal) error {
	t, _, err := o.openWorkspace(ctx, term)
	if err != nil {
		return err
	}
	if err := proveTiers(ctx, term, []target{t}); err != nil { // else the create could replace a state that is there
		return err
	}
	who := identity.Detect(term.Getenv)
	by := state.ProvenanceOf(statelatch.LockInfo{Who: who.Who}, &statelatch.Managed{Run: who.Run}) // it takes no lock
	v, err := audit.New(ctx, t.Store, t.ref, by)
	if errors.Is(err, statelatch.ErrPreconditionFailed) {
		return fmt.Errorf("workspace %q exists already: %s", o.workspace, t.ref)
	}
	if err != nil {
		return err
	}
	if o.json {
		return term.PrintJSON(versionOf(v))
	}
	term.Say("Created workspace %q: %s\n", o.workspace, t.ref)
	return nil
}

func runWorkspaceDelete(ctx context.Context, o workspaceOptions, term terminal) error {
	t, all, err := o.openWorkspace(ctx, term)
	if err != nil {
		return err
	}
	active := o.current(t) == o.workspace
	if active && !o.approved {
		question := fmt.Sprintf("%s is on the workspace %q. Delete it, %s, all the same?", cmp.Or(o.chdir, "This directory"),
			o.workspace, t.ref)
		if err := term.Confirm(ctx, question, "-auto-approve"); err != nil {
			return err
		}
	}
	req := o.request(term, "workspace delete")
	req.TTL = defaultLease
	tenure, err := t.acquire(ctx, term, req)
	if err != nil {
		return err
	}
	session, err := t.Store.Begin(ctx, tenure)
	if err == nil {
		err = audit.Delete(ctx, tenure, all, session, o.force)
		if closed := session.Close(); closed != nil {
			err = errors.Join(err, closed)
		}
	}
	if _, releaseErr := tenure.Release(ctx); releaseErr != nil && !writeUnknown(err) {
		err = errors.Join(err, releaseErr)
	}
	if err != nil {
		return err
	}
	if o.json {
		return term.PrintJSON(struct {
			Ref     string `json:"ref"`
			Deleted bool   `json:"deleted"`
		}{t.ref.String(), true})
	}
	term.Say("Deleted workspace %q: %s\n", o.workspace, t.ref)
	if active {
		term.Say("This directory is still on it: 'workspace select default' of the engine, or TF_WORKSPACE, chooses " +
			"another; else the next run creates it anew.\n")
	}
	return nil
}
