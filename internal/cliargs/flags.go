package cliargs

import (
	"errors"
	"slices"
	"time"

	"github.com/statelatch/statelatch/internal/term"
	"github.com/urfave/cli/v3"
)

// DurationFlag is a flag that knows days. Its default is part of its help.
type DurationFlag = cli.FlagBase[time.Duration, cli.NoConfig, durationValue]

type durationValue time.Duration

func (durationValue) Create(val time.Duration, p *time.Duration, _ cli.NoConfig) cli.Value {
	*p = val
	return (*durationValue)(p)
}

func (durationValue) ToString(val time.Duration) string { return term.FormatDuration(val) }

func (d *durationValue) Set(s string) error {
	v, err := term.ParseDuration(s)
	*d = durationValue(v)
	return err
}

func (d *durationValue) Get() any       { return time.Duration(*d) }
func (d *durationValue) String() string { return term.FormatDuration(time.Duration(*d)) }

// ChoiceFlag is a flag that takes one of the values in Config, and refuses every other.
type ChoiceFlag = cli.FlagBase[string, Choices, choiceValue]

// Choices are the values that a ChoiceFlag takes.
type Choices []string

// choiceValue is what was chosen, and what there is to choose from.
type choiceValue struct {
	chosen *string
	from   Choices
}

func (choiceValue) Create(val string, p *string, from Choices) cli.Value {
	*p = val
	return &choiceValue{p, from}
}

func (choiceValue) ToString(val string) string { return val }

func (c *choiceValue) Set(s string) error {
	if !slices.Contains(c.from, s) {
		why := "want " + term.Or(c.from)
		if len(c.from) > 2 {
			why = "want one of " + term.Or(c.from)
		}
		if near := term.DidYouMean(s, c.from); near != "" {
			why += "; " + near
		}
		return errors.New(why)
	}
	*c.chosen = s
	return nil
}

func (c *choiceValue) Get() any { return *c.chosen }

func (c *choiceValue) String() string {
	if c.chosen == nil {
		return ""
	}
	return *c.chosen
}
