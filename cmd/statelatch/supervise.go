package main

import (
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/runner"
)

// caught are the signals that would end this process while it runs a command.
type caught struct {
	term    terminal
	signals chan os.Signal // for package runner, while the command runs
	tidy    sync.Once
	done    chan struct{}
}

// catch takes the signals over until stop.
func catch(term terminal) *caught {
	surviveClosedPipes()
	c := &caught{term: term, signals: make(chan os.Signal, 4), done: make(chan struct{})}
	signal.Notify(c.signals, runner.EndSignals()...)
	return c
}

// surviveClosedPipes is for who holds a lock, to its end: nobody reading stdout or stderr any more must not end this
// process before the lock is released.
var surviveClosedPipes = sync.OnceFunc(func() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) })

// tidying lets one more signal pass, once the command is gone: pipelines send TERM soon after INT, and the lock must be
// released. The next one ends this process at once.
func (c *caught) tidying() {
	c.tidy.Do(func() {
		go func() {
			select {
			case <-c.signals:
				signal.Stop(c.signals)
				c.term.Say("statelatch: a signal came: the command is gone, its lock is being released; one more signal leaves " +
					"the lock to its lease\n")
			case <-c.done:
			}
		}()
	})
}

func (c *caught) stop() {
	signal.Stop(c.signals)
	close(c.done)
}

func tenureOf(set lock.Set, ref statelatch.Ref) *lock.Tenure {
	return set[slices.IndexFunc(set, func(t *lock.Tenure) bool { return t.Ref() == ref })]
}
