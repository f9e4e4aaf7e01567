// Package access is who asks a gateway, and what they may do: principals and their sessions, rights, and the rules that
// give rights on states. It does no I/O but for reading the file of rules.
package access

import (
	"time"

	"github.com/statelatch/statelatch"
)

// Principal is who a key or a token names.
type Principal struct {
	// Name is for people, audit and rules: "key:ana", or "github:repo:acme/infra:ref:refs/heads/main", which is the name
	// that the configuration gives the issuer, and the subject of the token.
	Name   string
	Issuer string // the name of the issuer in the configuration; empty: a static key
	Key    string // the name of the static key in the configuration; empty: a token
	// Claims are those of the token, as text: of a list each text in a line of its own.
	Claims map[string]string
}

// keyPrincipals is what the names of principals of static keys begin with, before a colon.
const keyPrincipals = "key"

// KeyPrincipal is whom the static key of a name names.
func KeyPrincipal(name string) Principal {
	return Principal{Name: keyPrincipals + ":" + name, Key: name}
}

// Session is one process of a principal.
type Session struct {
	// ID is unique to the process. Empty: a static key was used as it is, which every process of its owner may do.
	ID        string
	Principal Principal       // whose process it is
	Run       *statelatch.Run // the CI job, as its token tells; nil: it tells none
	Began     time.Time       // when the session began; zero: not known, as of a static key
	Expires   time.Time       // when the session ends; zero: never
}

// Right is what may be done with a state.
type Right string

// The rights.
const (
	Read          Right = "read"           // the state, its lock and its versions, and to list it
	Lock          Right = "lock"           // to take its lock, and to release what was taken
	Write         Right = "write"          // the state, under its lock
	ForceUnlock   Right = "force-unlock"   // to end a lock of somebody else
	Delete        Right = "delete"         // the state, as workspaces are
	WriteUnlocked Right = "write-unlocked" // the state, without its lock
	Admin         Right = "admin"          // all of that
)
