package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/policy"
)

// cleanJSON is what clean found and did.
type cleanJSON struct {
	DryRun bool            `json:"dry_run"`
	Parts  []cleanPartJSON `json:"parts"`
}

// cleanPartJSON is about a bucket, or the part of one, and its table.
type cleanPartJSON struct {
	Scope   string     `json:"scope"` // as it was named: a tree, or a bucket or prefix
	Table   string     `json:"table"`
	Digests []string   `json:"digests"` // the keys of the states whose digest was removed, or would be
	Locks   []string   `json:"locks"`   // the same of lock items
	Left    []leftJSON `json:"left,omitempty"`
	// Items are how many items, of all states, the table has at the end.
	Items       int              `json:"table_items"`
	Revoke      *policy.Document `json:"revoke,omitempty"`       // the rights that can go
	DeleteTable string           `json:"delete_table,omitempty"` // the command; only if the table is empty
}

type leftJSON struct {
	Key string `json:"key"`
	Why string `json:"why"`
}

// showCleaning shows people what is about to go, and what is not.
func showCleaning(say func(string, ...any), sayTable func(table), parts []*cleanable) {
	for _, p := range parts {
		if p.planned()+len(p.items) > 0 {
			t := table{Columns: []column{{Head: "TO BE REMOVED"}, {Head: "STATE", Least: 20, Middle: true}, {Head: "ITEM", Least: 20}}}
			for _, l := range p.items {
				t.Rows = append(t.Rows, []string{
					"lock", statelatch.Printable(l.Ref.String()), fmt.Sprintf("%s; %s: %s", holderName(l.Held), l.Verdict.State, l.Verdict.Proof),
				})
			}
			for _, f := range p.digests {
				if f.planned {
					t.Rows = append(t.Rows, []string{"digest", statelatch.Printable(f.ref.String()), fmt.Sprintf("%s, %s", statelatch.Printable(f.Stored), f.Status)})
				}
			}
			sayTable(t)
		}
		for _, l := range p.left {
			say("Left alone: s3://%s: %s\n", statelatch.Printable(p.scope.Bucket+"/"+l.Key), statelatch.Printable(l.Why))
		}
		say("%s and %s of %s in the table %s, %d left alone.\n", count(p.planned(), "digest"), count(len(p.items), "lock item"),
			statelatch.Printable(p.where), statelatch.Printable(p.Table.Name()), len(p.left))
	}
}

// end says what is left in the table, and what can go now.
func (o cleanOptions) end(ctx context.Context, term terminal, p *cleanable, done *cleanPartJSON) error {
	for _, err := range p.Table.LockIDs(ctx, "") {
		if err != nil {
			return err
		}
		done.Items++
	}
	done.Left = p.left
	if o.dryRun {
		return nil
	}
	if !o.json {
		term.say("Removed %s and %s.\n", count(len(done.Digests), "digest"), count(len(done.Locks), "lock item"))
	}
	if done.Items > 0 {
		if !o.json {
			term.say("%s still in the table %s, of these states or of others: keep it until it is empty.\n", count(done.Items, "item"), statelatch.Printable(p.Table.Name()))
		}
		return nil
	}
	revoke, err := tableRights(p, term)
	if err != nil {
		return err
	}
	done.Revoke, done.DeleteTable = &revoke, deleteTable(p, term)
	if !o.json {
		term.say("The table is empty. Once no client anywhere names it, these rights can go from their policies, wherever they are allowed on it:\n")
		term.print("%s", revoke.JSON())
		term.say("And so can the table:\n")
		term.print("%s\n", done.DeleteTable)
	}
	return nil
}

// tableRights are the rights that clients have needed on the table: those that our policies grant, and what the
// engines' documentation tells people to grant beyond.
func tableRights(p *cleanable, term terminal) (policy.Document, error) {
	all, err := policy.For(policy.Admin, policy.Target{
		Bucket: p.scope.Bucket, Table: p.Table.Name(), Region: regionOf(p.Backend, term), WorkspacePrefix: p.Backend.WorkspaceKeyPrefix,
	})
	if err != nil {
		return policy.Document{}, err
	}
	rights := policy.Statement{Sid: "LockTable", Effect: "Allow", Action: []string{"dynamodb:DescribeTable"}}
	for _, s := range all.Statement {
		if strings.HasPrefix(s.Action[0], "dynamodb:") {
			rights.Action, rights.Resource = append(rights.Action, s.Action...), s.Resource
		}
	}
	slices.Sort(rights.Action)
	rights.Action = slices.Compact(rights.Action)
	return policy.Document{Version: all.Version, Statement: []policy.Statement{rights}}, nil
}

// deleteTable is the command that deletes the table.
func deleteTable(p *cleanable, term terminal) string {
	command := "aws dynamodb delete-table --table-name " + shellQuote(p.Table.Name())
	for _, flag := range [...][2]string{
		{"--region", regionOf(p.Backend, term)}, {"--profile", p.Backend.S3.Profile}, {"--endpoint-url", p.Backend.DynamoDBEndpoint},
	} {
		if flag[1] != "" {
			command += " " + flag[0] + " " + shellQuote(flag[1])
		}
	}
	return command
}
