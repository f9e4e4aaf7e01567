package stsdoor

import (
	"encoding/xml"
	"net/http"

	"github.com/statelatch/statelatch/s3/s3model"
)

// begun is what both kinds of AssumeRole answer with.
type begun struct {
	ARN         string `xml:"AssumedRoleUser>Arn"`
	ID          string `xml:"AssumedRoleUser>AssumedRoleId"`
	AccessKeyID string `xml:"Credentials>AccessKeyId"`
	Secret      string `xml:"Credentials>SecretAccessKey"`
	Token       string `xml:"Credentials>SessionToken"`
	Expiration  string `xml:"Credentials>Expiration"`
}

type byTokenDocument struct {
	XMLName   xml.Name `xml:"AssumeRoleWithWebIdentityResponse"`
	XMLNS     string   `xml:"xmlns,attr"`
	Result    byToken  `xml:"AssumeRoleWithWebIdentityResult"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

type byToken struct {
	begun
	Subject  string `xml:"SubjectFromWebIdentityToken"`
	Audience string `xml:"Audience"`
	Provider string `xml:"Provider"`
}

type byKeyDocument struct {
	XMLName   xml.Name `xml:"AssumeRoleResponse"`
	XMLNS     string   `xml:"xmlns,attr"`
	Result    begun    `xml:"AssumeRoleResult"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

type identityDocument struct {
	XMLName   xml.Name `xml:"GetCallerIdentityResponse"`
	XMLNS     string   `xml:"xmlns,attr"`
	ARN       string   `xml:"GetCallerIdentityResult>Arn"`
	UserID    string   `xml:"GetCallerIdentityResult>UserId"`
	Account   string   `xml:"GetCallerIdentityResult>Account"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

type refusal struct {
	XMLName   xml.Name `xml:"ErrorResponse"`
	XMLNS     string   `xml:"xmlns,attr"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

func errorDocument(e *s3model.Error, requestID string) *refusal {
	kind := "Sender"
	if e.Status >= http.StatusInternalServerError {
		kind = "Receiver"
	}
	return &refusal{XMLNS: namespace, Type: kind, Code: e.Code, Message: e.Message, RequestID: requestID}
}
