package main

import (
	"context"
	"fmt"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/cutover"
	"github.com/statelatch/statelatch/policy"
)

// cleanJSON is what clean found and did.
type cleanJSON struct {
	DryRun bool            `json:"dry_run"`
	Parts  []cleanPartJSON `json:"parts"`
}

// cleanPartJSON is about a bucket, or the part of one, and its table.
type cleanPartJSON struct {
	Scope   string         `json:"scope"` // as it was named: a tree, or a bucket or prefix
	Table   string         `json:"table"`
	Digests []string       `json:"digests"` // the keys of the states whose digest was removed, or would be
	Locks   []string       `json:"locks"`   // the same of lock items
	Left    []cutover.Left `json:"left,omitempty"`
	// Items are how many items, of all states, the table has at the end.
	Items       int              `json:"table_items"`
	Revoke      *policy.Document `json:"revoke,omitempty"`       // the rights that can go
	DeleteTable string           `json:"delete_table,omitempty"` // the command; only if the table is empty
}

// showCleaning shows people what is about to go, and what is not.
func showCleaning(say func(string, ...any), sayTable func(table), parts []cleanPart) {
	for _, p := range parts {
		if p.Planned() > 0 {
			t := table{Columns: []column{
				{Head: "TO BE REMOVED"},
				{Head: "STATE", Least: 20, Middle: true},
				{Head: "ITEM", Least: 20},
			}}
			for _, l := range p.Items {
				t.Rows = append(t.Rows, []string{
					"lock", statelatch.Printable(l.Ref.String()),
					fmt.Sprintf("%s; %s: %s", l.Holder(), l.Verdict.State, l.Verdict.Proof),
				})
			}
			for _, f := range p.Digests {
				t.Rows = append(t.Rows, []string{
					"digest", statelatch.Printable(f.Ref.String()),
					fmt.Sprintf("%s, %s", statelatch.Printable(f.Reading.Stored), f.Status),
				})
			}
			sayTable(t)
		}
		for _, l := range p.Left {
			say("Left alone: s3://%s: %s\n", statelatch.Printable(p.Scope.Bucket+"/"+l.Key), statelatch.Printable(l.Why))
		}
		say("%s and %s of %s in the table %s, %d left alone.\n", count(len(p.Digests), "digest"),
			count(len(p.Items), "lock item"),
			statelatch.Printable(p.where), statelatch.Printable(p.Table.Name()), len(p.Left))
	}
}

// end says what is left in the table, and what can go now.
func (o cleanOptions) end(ctx context.Context, term terminal, p cleanPart, done *cleanPartJSON) error {
	var err error
	if done.Items, err = p.Remaining(ctx); err != nil {
		return err
	}
	done.Left = p.Left
	if o.dryRun {
		return nil
	}
	if !o.json {
		term.Say("Removed %s and %s.\n", count(len(done.Digests), "digest"), count(len(done.Locks), "lock item"))
	}
	if done.Items > 0 {
		if !o.json {
			term.Say("%s still in the table %s, of these states or of others: keep it until it is empty.\n",
				count(done.Items, "item"), statelatch.Printable(p.Table.Name()))
		}
		return nil
	}
	revoke, err := p.TableRights(regionOf(p.Backend, term))
	if err != nil {
		return err
	}
	done.Revoke, done.DeleteTable = &revoke, deleteTable(p, term)
	if !o.json {
		term.Say("The table is empty. Once no client anywhere names it, these rights can go from their policies, wherever " +
			"they are allowed on it:\n")
		term.Print("%s", revoke.JSON())
		term.Say("And so can the table:\n")
		term.Print("%s\n", done.DeleteTable)
	}
	return nil
}

// deleteTable is the command that deletes the table.
func deleteTable(p cleanPart, term terminal) string {
	command := "aws dynamodb delete-table --table-name " + shellQuote(p.Table.Name())
	for _, flag := range [...][2]string{
		{"--region", regionOf(p.Backend, term)},
		{"--profile", p.Backend.S3.Profile},
		{"--endpoint-url", p.Backend.DynamoDBEndpoint},
	} {
		if flag[1] != "" {
			command += " " + flag[0] + " " + shellQuote(flag[1])
		}
	}
	return command
}
