package wrap

import (
	"fmt"
	"time"

	"github.com/statelatch/statelatch/runner"
)

// eventText says what became of the command.
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
	case runner.Unwatched:
		text = "the command has no watchdog (any more): if this run is killed, nobody interrupts the command"
	}
	if e.Wait > 0 {
		text += fmt.Sprintf("; it has %v", e.Wait.Round(time.Second))
	}
	if e.Err != nil {
		text += fmt.Sprintf(" (%v)", e.Err)
	}
	return text
}
