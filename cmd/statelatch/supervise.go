package main

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/runner"
)

// caught are the signals that would end this process while it runs a command.
type caught struct {
	term    terminal
	signals chan os.Signal // for package runner, while the command runs
	pipe    chan os.Signal // nobody reads it: a closed pipe behind stderr must not end a run
	tidy    sync.Once
	done    chan struct{}
}

// catch takes the signals over until stop.
func catch(term terminal) *caught {
	c := &caught{term: term, signals: make(chan os.Signal, 4), pipe: make(chan os.Signal, 1), done: make(chan struct{})}
	signal.Notify(c.signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	signal.Notify(c.pipe, syscall.SIGPIPE)
	return c
}

// tidying lets one more signal pass, once the command is gone: pipelines send TERM soon after INT, and the lock must be given
// back. The next one ends this process at once.
func (c *caught) tidying() {
	c.tidy.Do(func() {
		go func() {
			select {
			case <-c.signals:
				signal.Stop(c.signals)
				c.term.say("statelatch: a signal came: the command is gone, its lock is being given back; one more signal leaves the lock to its lease\n")
			case <-c.done:
			}
		}()
	})
}

func (c *caught) stop() {
	signal.Stop(c.signals)
	signal.Stop(c.pipe)
	close(c.done)
}

func tenureOf(set lock.Set, ref statelatch.Ref) *lock.Tenure {
	return set[slices.IndexFunc(set, func(t *lock.Tenure) bool { return t.Ref() == ref })]
}

func eventText(e runner.Event) string {
	causes := map[runner.Cause]string{
		runner.Signal: "a signal came", runner.Cancelled: "it was cancelled",
		runner.LeaseLost: "the lock was lost", runner.Leftover: "processes of the command are left",
	}
	text := causes[e.Cause] + ": "
	switch e.Step {
	case runner.Linger:
		text = "the command has ended, waiting for the processes that it left behind"
	case runner.Interrupt:
		text += "the command was interrupted"
	case runner.Limit:
		text += "the command must end now"
	case runner.Terminate:
		text += "the command was told to terminate"
	case runner.Kill:
		text += "the command was killed"
	}
	if e.Wait > 0 {
		text += fmt.Sprintf("; it has %v", e.Wait.Round(time.Second))
	}
	if e.Err != nil {
		text += fmt.Sprintf(" (%v)", e.Err)
	}
	return text
}
