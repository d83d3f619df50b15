// Verify tokens by the libraries of Go: LIBRARY FOLDER ALGORITHM ISSUER AUDIENCE TOKEN ...
package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-oidc"
	old "github.com/dgrijalva/jwt-go"
	jose2go "github.com/dvsekhvalnov/jose2go"
	"github.com/golang-jwt/jwt"
	jose "gopkg.in/square/go-jose.v2"
	gojwt "gopkg.in/square/go-jose.v2/jwt"
)

var folder, algorithm, issuer, audience = os.Args[2], os.Args[3], os.Args[4], os.Args[5]

type reader func(token string) (string, error)

// Return the octets of a secret, or the public key of the PEM.
func material() any {
	if strings.HasPrefix(algorithm, "HS") {
		octets, _ := os.ReadFile(folder + "/secret")
		return octets
	}
	text, _ := os.ReadFile(folder + "/key.pem")
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		panic(err)
	}
	return key
}

func golangJWT(token string) (string, error) {
	claims := jwt.MapClaims{}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{algorithm}))
	_, err := parser.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return material(), nil })
	if err == nil && !(claims.VerifyAudience(audience, true) && claims.VerifyIssuer(issuer, true)) {
		err = errors.New("audience or issuer")
	}
	return fmt.Sprint(claims["sub"]), err
}

func jwtGo(token string) (string, error) {
	claims := old.MapClaims{}
	parser := old.Parser{ValidMethods: []string{algorithm}}
	_, err := parser.ParseWithClaims(token, claims, func(*old.Token) (any, error) { return material(), nil })
	if err == nil && !(claims.VerifyAudience(audience, true) && claims.VerifyIssuer(issuer, true)) {
		err = errors.New("audience or issuer")
	}
	return fmt.Sprint(claims["sub"]), err
}

func goJose(token string) (string, error) {
	var keys jose.JSONWebKeySet
	text, _ := os.ReadFile(folder + "/keys.jwks")
	if err := json.Unmarshal(text, &keys); err != nil {
		return "", err
	}
	parsed, err := gojwt.ParseSigned(token)
	if err != nil {
		return "", err
	}
	if parsed.Headers[0].Algorithm != algorithm {
		return "", errors.New("algorithm")
	}
	var claims gojwt.Claims
	if err = parsed.Claims(&keys, &claims); err != nil {
		return "", err
	}
	expected := gojwt.Expected{Issuer: issuer, Audience: gojwt.Audience{audience}, Time: time.Now()}
	return claims.Subject, claims.Validate(expected)
}

func jose2(token string) (string, error) {
	payload, header, err := jose2go.Decode(token, material())
	if err != nil {
		return "", err
	}
	if header["alg"] != algorithm {
		return "", errors.New("algorithm")
	}
	var claims struct{ Sub string }
	err = json.Unmarshal([]byte(payload), &claims)
	return claims.Sub, err
}

// The key set is fetched: from here, because NewProvider wants OpenID's document.
func goOIDC(names []string) reader {
	return func(token string) (string, error) {
		server := httptest.NewServer(http.FileServer(http.Dir(folder)))
		defer server.Close()
		fixed := oidc.NewRemoteKeySet(context.Background(), server.URL+"/keys.jwks")
		config := oidc.Config{ClientID: audience, SupportedSigningAlgs: names}
		found, err := oidc.NewVerifier(issuer, fixed, &config).Verify(context.Background(), token)
		if err != nil {
			return "", err
		}
		return found.Subject, nil
	}
}

func main() {
	readers := map[string]reader{
		"golang-jwt":           golangJWT,
		"dgrijalva/jwt-go":     jwtGo,
		"go-jose.v2":           goJose,
		"jose2go":              jose2,
		"coreos/go-oidc":       goOIDC(nil),
		"SupportedSigningAlgs": goOIDC([]string{algorithm}),
	}
	for _, token := range os.Args[6:] {
		if subject, err := readers[os.Args[1]](token); err != nil {
			fmt.Println("no", err)
		} else {
			fmt.Println("ok", subject)
		}
	}
}
