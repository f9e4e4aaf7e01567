package policy

import "strings"

// on allows actions on objects.
func (t Target) on(sid string, patterns []string, actions ...string) []Statement {
	if len(patterns) == 0 {
		return nil
	}
	return []Statement{{Sid: sid, Effect: "Allow", Action: actions, Resource: t.arns(patterns)}}
}

// onBucket allows actions on the bucket itself.
func (t Target) onBucket(sid string, actions ...string) []Statement {
	return []Statement{{Sid: sid, Effect: "Allow", Action: actions, Resource: []string{t.arn("")}}}
}

// puts are the actions of a write.
func (t Target) puts() []string {
	actions := []string{"s3:PutObject"}
	if t.Tags {
		actions = append(actions, "s3:PutObjectTagging")
	}
	if t.ACL {
		actions = append(actions, "s3:PutObjectAcl")
	}
	return actions
}

// list allows to find the states, what lies beside them, and their workspaces.
func (t Target) list(suffixes []string, actions ...string) []Statement {
	s := t.onBucket("ListStates", actions...)
	if prefixes := t.listed(suffixes...); prefixes != nil {
		s[0].Condition = stringLike("s3:prefix", prefixes...)
	}
	return s
}

// conditions are by operator, then by condition key.
type conditions = map[string]map[string][]string

func stringLike(key string, values ...string) conditions {
	return conditions{"StringLike": {key: values}}
}

// items allows actions of DynamoDB on items. Such a call always names its item, so the "for all" of the condition is
// never empty.
func (t Target) items(sid string, patterns []string, actions ...string) []Statement {
	if t.Table == "" {
		return nil
	}
	ids := make([]string, len(patterns))
	for i, p := range patterns {
		ids[i] = t.Bucket + "/" + p
	}
	s := t.onTable(sid, actions...)
	s[0].Condition = leadingKeys(ids...)
	return s
}

func leadingKeys(ids ...string) conditions {
	return conditions{"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ids}}
}

// scan allows to find the locks in the table. IAM cannot limit that to some of its items.
func (t Target) scan() []Statement {
	if t.Table == "" {
		return nil
	}
	return t.onTable("FindLockItems", "Scan")
}

func (t Target) onTable(sid string, actions ...string) []Statement {
	s := Statement{Sid: sid, Effect: "Allow", Resource: []string{t.regional("dynamodb", "table/", t.Table)}}
	for _, a := range actions {
		s.Action = append(s.Action, "dynamodb:"+a)
	}
	return []Statement{s}
}

// regional is the ARN of a resource that is given by its name, or by its ARN.
func (t Target) regional(service, kind, name string) string {
	if strings.HasPrefix(name, "arn:") {
		return name
	}
	return "arn:" + t.Partition + ":" + service + ":" + t.Region + ":" + t.Account + ":" + kind + name
}

// kms allows S3 to use the key, and for these objects alone. With a bucket key S3 names the bucket instead of the
// object; behind an access point, or in S3 Express, what it names cannot be known here.
func (t Target) kms(patterns []string, actions ...string) []Statement {
	if t.KMSKey == "" {
		return nil
	}
	s := Statement{
		Sid: "UseEncryptionKey", Effect: "Allow", Resource: []string{t.regional("kms", "key/", t.KMSKey)},
		Condition: stringLike("kms:ViaService", t.viaS3()...),
	}
	if t.accessPoint() == "" && !t.express() {
		s.Condition["StringLike"]["kms:EncryptionContext:aws:s3:arn"] = append([]string{t.arn("")}, t.arns(patterns)...)
	}
	for _, a := range actions {
		s.Action = append(s.Action, "kms:"+a)
	}
	// An alias is no resource that KMS would look at, but its keys know their aliases.
	if before, alias, ok := strings.Cut(t.KMSKey, "alias/"); ok {
		if before == "" {
			s.Resource = []string{t.regional("kms", "key/", "*")}
		} else {
			s.Resource = []string{before + "key/*"}
		}
		s.Condition["ForAnyValue:StringEquals"] = map[string][]string{"kms:ResourceAliases": {"alias/" + alias}}
	}
	return []Statement{s}
}

// viaS3 is how KMS names S3 when S3 asks for somebody.
func (t Target) viaS3() []string {
	name := "s3." + t.Region + ".amazonaws.com"
	if t.Partition == "aws-cn" {
		return []string{name, name + ".cn"}
	}
	return []string{name}
}
