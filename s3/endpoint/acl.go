package endpoint

import (
	"encoding/xml"
	"net/http"
)

type granteeXML struct {
	XSI         string `xml:"xmlns:xsi,attr"`
	Type        string `xml:"xsi:type,attr"`
	ID          string
	DisplayName string
}

type aclXML struct {
	XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ AccessControlPolicy"`
	Owner   *ownerXML
	Grants  []struct {
		Grantee    granteeXML
		Permission string
	} `xml:"AccessControlList>Grant"`
}

func (c *call) writeACL() error {
	doc := aclXML{Owner: owner()}
	doc.Grants = append(doc.Grants, struct {
		Grantee    granteeXML
		Permission string
	}{
		granteeXML{"http://www.w3.org/2001/XMLSchema-instance", "CanonicalUser", ownerID, ownerName}, "FULL_CONTROL",
	})
	c.writeXML(http.StatusOK, doc)
	return nil
}

func (c *call) getBucketACL() error {
	if _, err := c.Store.GetBucket(c.ctx, c.bucket); err != nil {
		return err
	}
	return c.writeACL()
}

func (c *call) getObjectACL() error {
	if err := c.objectExists(); err != nil {
		return err
	}
	return c.writeACL()
}

func (c *call) putBucketACL() error {
	if err := c.checkACLBody(); err != nil {
		return err
	}
	if _, err := c.Store.GetBucket(c.ctx, c.bucket); err != nil {
		return err
	}
	return c.ok()
}

func (c *call) putObjectACL() error {
	if err := c.checkACLBody(); err != nil {
		return err
	}
	if err := c.objectExists(); err != nil {
		return err
	}
	return c.ok()
}

// objectExists uses the tags because reading them needs no customer key.
func (c *call) objectExists() error {
	req, err := c.readRequest()
	if err != nil {
		return err
	}
	_, obj, err := c.Store.Tags(c.ctx, req)
	if err == nil {
		c.setVersion(obj.VersionID)
	}
	return err
}

// checkACLBody accepts only the ACL that every bucket and object has: the owner's full control.
func (c *call) checkACLBody() error {
	doc, err := c.document()
	if err != nil {
		return err
	}
	if len(doc) == 0 {
		if c.r.Header.Get("X-Amz-Acl") == "" {
			return refuse("MissingSecurityHeader", http.StatusBadRequest,
				"Your request was missing a required header: x-amz-acl, or a body.")
		}
		return nil
	}
	return parseACL(doc)
}

// parseACL parses an AccessControlPolicy and refuses any but the owner's own.
func parseACL(doc []byte) error {
	root, err := parseXML(doc, "AccessControlPolicy")
	if err != nil {
		return err
	}
	var id, name string
	grants := 0
	err = root.decode(fields{
		"Owner": one(func(n *node) error { return n.decode(fields{"ID": word(&id), "DisplayName": text(&name)}) }),
		"AccessControlList": one(func(list *node) error {
			return list.decode(fields{"Grant": many(func(n *node) error {
				grants++
				var grantee, permission, ignored string
				if err := n.decode(fields{
					"Permission": word(&permission),
					"Grantee": one(func(g *node) error {
						return g.decode(fields{
							"ID": word(&grantee), "DisplayName": text(&ignored),
							"URI": word(&ignored), "EmailAddress": word(&ignored), "Type": word(&ignored),
						})
					}),
				}); err != nil {
					return err
				}
				if grantee != ownerID || permission != "FULL_CONTROL" {
					return errNoACLs
				}
				return nil
			})})
		}),
	})
	if err == nil && (grants != 1 || (id != "" && id != ownerID)) {
		err = errNoACLs
	}
	return err
}
