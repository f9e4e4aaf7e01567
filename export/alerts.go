package export

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/guardhttp"
	"github.com/statelatch/statelatch/internal/safejson"
)

// The values of [Message.Event].
const (
	EventOld  = "lock_old"  // a lock got as old as the alerts are for
	EventGone = "lock_gone" // a lock that was told about is there no more
)

// Verdicts says which locks are worth a message.
type Verdicts string

// The choices.
const (
	VerdictsStale   Verdicts = "stale"   // provably stale
	VerdictsUnknown Verdicts = "unknown" // not provably live
	VerdictsAny     Verdicts = "any"     // whatever the evidence says
)

func (v Verdicts) include(s evidence.State) bool {
	switch v {
	case VerdictsStale:
		return s == evidence.Stale
	case VerdictsUnknown:
		return s != evidence.Live
	case VerdictsAny:
	}
	return true
}

// Message is what the webhook gets, as JSON. Text alone is what Slack and its like show.
type Message struct {
	Text       string         `json:"text"`                // one line for people
	Event      string         `json:"event"`               // one of the Event constants
	Ref        string         `json:"ref"`                 // of the state: s3://BUCKET/KEY
	Workspace  string         `json:"workspace"`           // of the state; "default" for the default one
	LockID     string         `json:"lock_id,omitempty"`   // empty: the lock could not be read
	Who        string         `json:"who,omitempty"`       // the holder, as the lock says; empty: not known
	Operation  string         `json:"operation,omitempty"` // as the lock says; empty: not known
	Verdict    evidence.State `json:"verdict"`             // whether the holder is still at work
	Proof      string         `json:"proof,omitempty"`     // one line for people: why the verdict is that
	AgeSeconds int64          `json:"age_seconds"`         // when it was last seen
	Since      time.Time      `json:"since"`               // when the lock object was written last, by the store's clock
	// Time: when it was sent, so that a message that somebody repeats is known
	Time time.Time `json:"time"`
}

// Alerts tells a webhook about locks of at least an age: once when one gets that old, and once when it is gone.
type Alerts struct {
	hook      *guardhttp.Webhook
	olderThan time.Duration
	verdicts  Verdicts
	told      map[string]Message // by [lockName]; of the collecting goroutine alone
	unsent    atomic.Int64
}

// NewAlerts returns an Alerts for the webhook at address, which is a secret: it is in no error and no log. It is https,
// or http to this machine, and its messages are signed with key if there is one, in the header X-Statelatch-Signature.
// Redirects are not followed. transport, if not nil, sends instead of one that keeps away from addresses of metadata
// services. Errors match ErrInvalid.
func NewAlerts(
	address string, key []byte, olderThan time.Duration, verdicts Verdicts, transport http.RoundTripper,
) (*Alerts, error) {
	hook, err := guardhttp.NewWebhook(address, key, transport)
	if err != nil {
		return nil, err
	}
	return &Alerts{hook: hook, olderThan: olderThan, verdicts: verdicts, told: map[string]Message{}}, nil
}

// lockName tells one lock from all others; empty if it cannot be told.
func lockName(l fleet.Lock) string {
	id := l.Info.ID
	if id == "" {
		id = l.ETag
	}
	if id == "" {
		return ""
	}
	return l.Ref.Key + "\x00" + id
}

// see compares what was collected with what was told. What the webhook does not take is tried again the next time.
func (a *Alerts) see(ctx context.Context, c *collection, cfg Config) {
	present, unread := map[string]bool{}, map[string]bool{}
	for _, l := range c.locks {
		name := lockName(l)
		if l.Unread != nil || name == "" {
			unread["s3://"+l.Ref.Path()] = true
			continue
		}
		present[name] = true
		if _, told := a.told[name]; told || l.Since.IsZero() || l.Age < a.olderThan || !a.verdicts.include(l.Verdict.State) {
			continue
		}
		m := message(l, cfg.WorkspacePrefix)
		switch err := a.send(ctx, m, cfg); {
		case err == nil:
			a.told[name] = m
		case !refused(err):
			return
		}
	}
	if c.unlisted {
		return // a lock that is only in the table would look gone
	}
	for name, m := range a.told {
		if present[name] || unread[m.Ref] {
			continue
		}
		m.Event = EventGone
		m.Text = fmt.Sprintf("The lock of %s is gone. It was held by %s.", escape(m.Ref), escape(holder(m)))
		switch err := a.send(ctx, m, cfg); {
		case err == nil:
			delete(a.told, name)
		case !refused(err):
			return
		}
	}
}

func message(l fleet.Lock, workspacePrefix string) Message {
	m := Message{
		Event: EventOld, Ref: l.Ref.String(), Workspace: statelatch.DefaultWorkspace, LockID: l.Info.ID, Who: l.Info.Who,
		Operation: l.Info.Operation,
		Verdict:   l.Verdict.State, Proof: l.Verdict.Proof, AgeSeconds: int64(l.Age / time.Second), Since: l.Since.UTC(),
	}
	if workspace, _, ok := statelatch.CutWorkspace(l.Ref.Key, workspacePrefix); ok {
		m.Workspace = workspace
	}
	m.Text = fmt.Sprintf("%s is locked for %s by %s. Verdict: %s: %s.",
		escape(m.Ref), evidence.Span(l.Age), escape(holder(m)), m.Verdict, escape(m.Proof))
	return m
}

func holder(m Message) string {
	switch {
	case m.Who == "":
		return "somebody unknown"
	case m.Operation == "":
		return m.Who
	}
	return m.Who + " (" + m.Operation + ")"
}

// escape keeps what others wrote into a lock from being a link, a mention or a line of its own in a chat.
func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(statelatch.Printable(s))
}

// refused reports whether this message is not wanted. Another one may be.
func refused(err error) bool {
	status, ok := errors.AsType[guardhttp.StatusError](err)
	return ok && status.Refused()
}

// send sends m, a few times if it must.
func (a *Alerts) send(ctx context.Context, m Message, cfg Config) error {
	m.Time = time.Now().UTC()
	body, err := safejson.Marshal(m)
	if err == nil {
		err = a.hook.Post(ctx, body)
	}
	if err != nil {
		a.unsent.Add(1)
		cfg.Log.Warn("the webhook did not take a message", "event", m.Event, "ref", statelatch.Printable(m.Ref), "error", err)
	}
	return err
}
