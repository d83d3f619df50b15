/* Verify tokens by libcjose: FOLDER ALGORITHM ISSUER AUDIENCE TOKEN ... */
#include <cjose/cjose.h>
#include <stdio.h>
#include <string.h>

static const char *verified(const char *token, const cjose_jwk_t *key, const char **fault) {
  cjose_err error = {0};
  uint8_t *octets;
  size_t length;
  static char claims[8192]; /* as text: it has no reader of JSON */
  *fault = "";
  cjose_jws_t *jws = cjose_jws_import(token, strlen(token), &error);
  const char *found = NULL;
  if (jws && cjose_jws_verify(jws, key, &error) &&
      cjose_jws_get_plaintext(jws, &octets, &length, &error)) {
    snprintf(claims, sizeof claims, "%.*s", (int)length, (const char *)octets);
    found = claims;
  } else {
    *fault = error.message ? error.message : "no message";
  }
  if (jws) cjose_jws_release(jws);
  return found;
}

int main(int argc, char **argv) {
  char path[4096], text[8192];
  cjose_err error = {0};
  snprintf(path, sizeof path, "%s/key.jwk", argv[1]);
  FILE *file = fopen(path, "rb");
  if (!file) return 1;
  size_t length = fread(text, 1, sizeof text, file);
  fclose(file);
  cjose_jwk_t *key = cjose_jwk_import(text, length, &error);
  for (int i = 5; i < argc; i++) {
    const char *fault = "the key is refused";
    const char *claims = key ? verified(argv[i], key, &fault) : NULL;
    printf("%s %s\n", claims ? "ok" : "no", claims ? claims : fault);
  }
  if (key) cjose_jwk_release(key);
  return 0;
}
