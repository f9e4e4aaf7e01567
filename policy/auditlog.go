package policy

import "slices"

// The names of an audit log's objects, as patterns: events have 20 digits, and none begins with another one than zero.
const (
	auditEvent = "0???????????????????.json"
	auditHead  = "head.json"
)

// null is the condition that a header of a write is, or is not, there.
func null(absent string, keys ...string) conditions {
	c := conditions{"Null": {}}
	for _, k := range keys {
		c["Null"][k] = []string{absent}
	}
	return c
}

const (
	ifNoneMatch = "s3:if-none-match"
	ifMatch     = "s3:if-match"
)

// auditLog is what appending to the log at the prefix takes, and verifying it: an event is only ever created, and the
// head only moved.
func (t Target) auditLog() []Statement {
	list := t.onBucket("ListLog", "s3:ListBucket", "s3:ListBucketVersions")
	list[0].Condition = stringLike("s3:prefix", t.below())
	events, head := []string{escape(t.Prefix) + "/" + auditEvent}, []string{escape(t.Prefix) + "/" + auditHead}
	create := t.on("AppendEvents", slices.Concat(events, head), t.puts()...)
	create[0].Condition = null("false", ifNoneMatch)
	move := t.on("MoveHead", head, t.puts()...)
	move[0].Condition = null("false", ifMatch)
	return slices.Concat(list, t.on("ReadLog", []string{t.below()}, "s3:GetObject", "s3:GetObjectVersion"), create, move,
		t.kms([]string{t.below()}, "Decrypt", "GenerateDataKey"))
}

// keepAuditLogs denies to rewrite and to delete the events of audit logs, wherever they are among the objects of the
// target: an asterisk for states includes them.
func (t Target) keepAuditLogs() []Statement {
	if t.Key != "" {
		return nil
	}
	places := []string{"*/"}
	if t.Prefix != "" {
		places = []string{escape(t.Prefix) + "/", escape(t.Prefix) + "/*/"}
	}
	var events, heads []string
	for _, place := range places {
		events, heads = append(events, place+auditEvent), append(heads, place+auditHead)
	}
	remove := t.on("KeepAuditLogs", slices.Concat(events, heads), "s3:DeleteObject", "s3:DeleteObjectVersion")
	rewrite := t.on("OnlyAppendToAuditLogs", events, "s3:PutObject")
	rewrite[0].Condition = null("true", ifNoneMatch)
	move := t.on("OnlyMoveAuditHeads", heads, "s3:PutObject")
	move[0].Condition = null("true", ifNoneMatch, ifMatch) // both in one: neither header is there
	all := slices.Concat(remove, rewrite, move)
	for i := range all {
		all[i].Effect = "Deny"
	}
	return all
}
