/* setjmp and longjmp over wasm exceptions (exnref), as the compiler's lowering calls them.
** Interface: the tool-conventions document on SjLj lowering. */
#include <stddef.h>
#include <stdint.h>

/* Clang leaves the definition of the exception's tag to the runtime. */
__asm__(
    ".globl __c_longjmp\n"
    ".tagtype __c_longjmp i32\n"
    "__c_longjmp:\n");

struct arg {
  void *env;
  int val;
};

struct jmp {
  void *invocation;
  uint32_t label;
  struct arg arg;
};

void __wasm_setjmp(void *env, uint32_t label, void *invocation) {
  struct jmp *jmp = env;
  if (label == 0 || invocation == NULL) __builtin_trap();
  jmp->invocation = invocation;
  jmp->label = label;
}

uint32_t __wasm_setjmp_test(void *env, void *invocation) {
  struct jmp *jmp = env;
  if (jmp->label == 0 || invocation == NULL) __builtin_trap();
  return jmp->invocation == invocation ? jmp->label : 0;
}

void __wasm_longjmp(void *env, int val) {
  struct jmp *jmp = env;
  jmp->arg.env = env;
  jmp->arg.val = val == 0 ? 1 : val;
  __builtin_wasm_throw(1, &jmp->arg);
}
