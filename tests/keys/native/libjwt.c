/* Verify tokens by libjwt 1: FOLDER ALGORITHM ISSUER AUDIENCE TOKEN ... */
#include <jwt.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
  char path[4096];
  unsigned char key[8192];
  snprintf(path, sizeof path, "%s/%s", argv[1], strncmp(argv[2], "HS", 2) ? "key.pem" : "secret");
  FILE *file = fopen(path, "rb");
  if (!file) return 1;
  int length = (int)fread(key, 1, sizeof key, file);
  fclose(file);
  for (int i = 5; i < argc; i++) {
    jwt_t *token = NULL;
    int fault = jwt_decode(&token, argv[i], key, length);
    if (fault)
      printf("no %s\n", strerror(fault));
    else if (jwt_get_alg(token) == JWT_ALG_NONE)
      printf("no signature\n");
    else
      printf("ok %s\n", jwt_get_grant(token, "sub"));
    if (!fault) jwt_free(token);
  }
  return 0;
}
