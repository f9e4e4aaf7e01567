package treefile

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/apparentlymart/go-textseg/v15/textseg"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
)

// maxDepth of brackets, templates, blocks and chains of operators, one in another. People stay below 50.
const maxDepth = 1000

// maxCopied is how many bytes the parser may copy for the texts of a file: it joins the lines of a heredoc one by one.
const maxCopied = 4 << 30

// perToken is what it moves of each token at that, about.
const perToken = 64

// byteOrderMark is what some editors begin a file with; the parser passes it over, its lexer does not.
var byteOrderMark = []byte("\ufeff")

// ParseHCL is [hclsyntax.ParseConfig] for text that may be hostile.
func ParseHCL(data []byte, filename string, start hcl.Pos) (*hcl.File, hcl.Diagnostics) {
	if diags := checkHCL(data, filename, start); diags.HasErrors() {
		return &hcl.File{Body: hcl.EmptyBody(), Bytes: data}, diags
	}
	return hclsyntax.ParseConfig(data, filename, start)
}

// ParseExpression is [hclsyntax.ParseExpression] for text that may be hostile.
func ParseExpression(data []byte, filename string, start hcl.Pos) (hclsyntax.Expression, hcl.Diagnostics) {
	tokens, _ := hclsyntax.LexExpression(data, filename, start)
	if diags := checkTokens(tokens); diags.HasErrors() {
		return nil, diags
	}
	return hclsyntax.ParseExpression(data, filename, start)
}

// ParseJSON is [hcljson.Parse] for text that may be hostile. The templates in its strings were looked at, too.
func ParseJSON(data []byte, filename string) (*hcl.File, hcl.Diagnostics) {
	if diags := checkJSON(data, filename); diags.HasErrors() {
		return &hcl.File{Body: hcl.EmptyBody(), Bytes: data}, diags
	}
	return hcljson.Parse(data, filename)
}

func checkHCL(data []byte, filename string, start hcl.Pos) hcl.Diagnostics {
	if bytes.IndexByte(data, 0) >= 0 { // each would be an error of its own
		return refuse(hcl.Range{Filename: filename, Start: start, End: start}, "A byte of zero: this is no text")
	}
	tokens, _ := hclsyntax.LexConfig(bytes.TrimPrefix(data, byteOrderMark), filename, start)
	return checkTokens(tokens)
}

func refuse(at hcl.Range, why string) hcl.Diagnostics {
	return hcl.Diagnostics{{
		Severity: hcl.DiagError, Summary: why, Detail: "No engine reads this well, either.",
		Subject: &at,
	}}
}

func tooDeep(at hcl.Range) hcl.Diagnostics {
	return refuse(at, fmt.Sprintf("Nested more than %d levels deep", maxDepth))
}

// level is an open bracket, with what makes a parser recurse, or a tree of expressions deep, without one.
type level struct {
	opener hclsyntax.TokenType
	chain  int  // operators, question marks and indexes of the expression so far
	inner  int  // directives of a template that wait for their end
	parts  int  // of a text
	joined int  // of these, to the one before
	length int  // of what is being joined
	text   bool // the part before is text
}

func (l level) depth() int { return 1 + l.chain + l.inner }

// closers are the ends of what opens a level.
var closers = map[hclsyntax.TokenType]hclsyntax.TokenType{
	hclsyntax.TokenOBrace: hclsyntax.TokenCBrace, hclsyntax.TokenOBrack: hclsyntax.TokenCBrack,
	hclsyntax.TokenOParen: hclsyntax.TokenCParen,
	hclsyntax.TokenOQuote: hclsyntax.TokenCQuote, hclsyntax.TokenOHeredoc: hclsyntax.TokenCHeredoc,
	hclsyntax.TokenTemplateInterp:  hclsyntax.TokenTemplateSeqEnd,
	hclsyntax.TokenTemplateControl: hclsyntax.TokenTemplateSeqEnd,
}

// checkTokens bounds from above how deep a parser of the tokens recurses, and how deep what it makes of them is. An end
// of the wrong kind ends nothing.
func checkTokens(tokens hclsyntax.Tokens) hcl.Diagnostics {
	levels := []level{{}}
	depth, copied := 0, 0
	link := func(top *level) { top.chain++; depth++ }
	restart := func(top *level) { depth -= top.chain; top.chain = 0 }
	for i, token := range tokens {
		top := &levels[len(levels)-1]
		body := len(levels) == 1 || top.opener == hclsyntax.TokenOBrace
		switch token.Type {
		case hclsyntax.TokenStringLit, hclsyntax.TokenQuotedLit:
			if top.text {
				top.joined++
				copied += top.length + perToken*top.parts
			}
			top.length += len(token.Bytes)
			top.text = true
		default:
			top.text, top.length = false, 0
		}
		top.parts++
		if copied += perToken * top.joined; copied > maxCopied {
			return refuse(token.Range, "Too many lines in a text")
		}
		switch token.Type {
		case hclsyntax.TokenTemplateControl:
			if i+1 < len(tokens) && tokens[i+1].Type == hclsyntax.TokenIdent {
				switch word := string(tokens[i+1].Bytes); {
				case word == "if" || word == "for":
					top.inner++
					depth++
				case (word == "endif" || word == "endfor") && top.inner > 0:
					top.inner--
					depth--
				}
			}
			levels = append(levels, level{opener: token.Type})
			depth++
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenOQuote,
			hclsyntax.TokenOHeredoc, hclsyntax.TokenTemplateInterp:
			levels = append(levels, level{opener: token.Type})
			depth++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenCQuote,
			hclsyntax.TokenCHeredoc, hclsyntax.TokenTemplateSeqEnd:
			if len(levels) == 1 || closers[top.opener] != token.Type {
				break
			}
			depth -= top.depth()
			levels = levels[:len(levels)-1]
			if token.Type == hclsyntax.TokenCBrack { // perhaps an index, which the next may be of
				link(&levels[len(levels)-1])
			}
		case hclsyntax.TokenComma:
			restart(top)
		case hclsyntax.TokenNewline:
			if body {
				restart(top)
			}
		case hclsyntax.TokenComment:
			if body && bytes.HasSuffix(token.Bytes, []byte("\n")) {
				restart(top)
			}
		case hclsyntax.TokenPlus, hclsyntax.TokenMinus, hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPercent,
			hclsyntax.TokenBang,
			hclsyntax.TokenAnd, hclsyntax.TokenOr, hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan,
			hclsyntax.TokenLessThanEq, hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq, hclsyntax.TokenQuestion:
			link(top)
		}
		if depth > maxDepth {
			return tooDeep(token.Range)
		}
	}
	return nil
}

// checkJSON reads strings as the parser does: to a quote that is no part of a longer character, or to a control
// character.
func checkJSON(data []byte, filename string) hcl.Diagnostics {
	at := hcl.Range{Filename: filename, Start: hcl.InitialPos, End: hcl.InitialPos}
	var open []byte
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '\n':
			at.Start.Line++
		case '{', '[':
			open = append(open, data[i])
		case '}', ']':
			if n := len(open); n > 0 && open[n-1] == data[i]-2 { // as ASCII has them
				open = open[:n-1]
			}
		case '"':
			n := stringLen(data[i:])
			if diags := checkJSONString(data[i:i+n], at); diags.HasErrors() {
				return diags
			}
			i += n - 1
		}
		if len(open) > maxDepth {
			at.Start.Byte = i
			at.End = at.Start
			return tooDeep(at)
		}
	}
	return nil
}

// stringLen is the length of the string that data begins with.
func stringLen(data []byte) int {
	escaping := false
	for i := 1; i < len(data); {
		switch b := data[i]; {
		case b == '\\':
			escaping = !escaping
			i++
		case b == '"':
			i++
			if !escaping {
				return i
			}
			escaping = false
		case b < ' ':
			return i
		default:
			n := 1
			if i+1 < len(data) && (b >= 0x80 || data[i+1] >= 0x80) {
				n, _, _ = textseg.ScanGraphemeClusters(data[i:], true)
			}
			i += max(n, 1)
			escaping = false
		}
	}
	return len(data)
}

// checkJSONString looks at the template that a string can be.
func checkJSONString(quoted []byte, at hcl.Range) hcl.Diagnostics {
	if !bytes.ContainsAny(quoted, `{\`) {
		return nil
	}
	var text string
	if json.Unmarshal(quoted, &text) != nil {
		return nil //nolint:nilerr // the parser refuses it
	}
	tokens, _ := hclsyntax.LexTemplate([]byte(text), at.Filename, at.Start)
	return checkTokens(tokens)
}
