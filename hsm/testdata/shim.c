// A PKCS#11 module in front of another, which does as a control file says. The tests of package
// hsm build it and load it as their module.
//
// KEYHOLD_SHIM_REAL is the path of the module behind, KEYHOLD_SHIM_CONTROL that of the control
// file, which is read before every call. Each of its lines is for one function, or * for all but
// C_Finalize:
//
//	C_Decrypt rv=0x30 times=3    the next three calls return CKR_DEVICE_ERROR, and do nothing
//	C_Encrypt sleep=5000         every call waits for 5000 ms first
//	C_Sign skip=2 rv=0x30        not the next two calls, but all behind them
//	* evil=10                    one call in ten returns something at random
//	owniv                        the token puts an IV of its own into AES-GCM, as some do
//
// C_Finalize, C_CloseAllSessions and C_Logout wait for the calls that are under way: to finalise a
// module under a call is not defined, and SoftHSM 2.6.1 was seen to crash of C_CloseAllSessions.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CK_PTR *
#define CK_DEFINE_FUNCTION(returns, name) returns name
#define CK_DECLARE_FUNCTION(returns, name) returns name
#define CK_DECLARE_FUNCTION_POINTER(returns, name) returns(*name)
#define CK_CALLBACK_FUNCTION(returns, name) returns(*name)
#define NULL_PTR 0
#include "pkcs11.h"

static const char *names[] = {
#define CK_PKCS11_FUNCTION_INFO(name) #name,
#include "pkcs11f.h"
#undef CK_PKCS11_FUNCTION_INFO
};
enum {
#define CK_PKCS11_FUNCTION_INFO(name) I_##name,
#include "pkcs11f.h"
#undef CK_PKCS11_FUNCTION_INFO
	functions
};

#define LINES 32
static struct line {
	char name[64];
	long rv, sleep, times, skip, evil; // -1: not said
} lines[LINES];
static int count, owniv;
static char text[4096];
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t inside = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static CK_FUNCTION_LIST list, *real;

static long number(const char *from, const char *key) {
	const char *at = strstr(from, key);
	return at ? strtol(at + strlen(key), NULL, 0) : -1;
}

// control reads the control file, and forgets what was counted if it is another than before.
static void control(void) {
	char now[sizeof text] = "";
	FILE *f = fopen(getenv("KEYHOLD_SHIM_CONTROL"), "r");
	if (f) {
		now[fread(now, 1, sizeof now - 1, f)] = 0;
		fclose(f);
	}
	if (!strcmp(now, text)) return;
	strcpy(text, now);
	count = owniv = 0;
	for (char *save, *l = strtok_r(now, "\n", &save); l && count < LINES; l = strtok_r(NULL, "\n", &save)) {
		if (!strcmp(l, "owniv")) owniv = 1;
		struct line *at = &lines[count];
		if (sscanf(l, "%63s ", at->name) != 1) continue;
		at->rv = number(l, " rv="), at->sleep = number(l, " sleep=");
		at->times = number(l, " times="), at->skip = number(l, " skip="), at->evil = number(l, " evil=");
		count++;
	}
}

// asked is what the control file has to say about a call: its return value, or -1, and a wait.
static long asked(int function, long *wait) {
	long rv = -1;
	pthread_mutex_lock(&guard);
	control();
	for (struct line *l = lines; l < lines + count; l++) {
		if (strcmp(l->name, names[function]) && (strcmp(l->name, "*") || function == I_C_Finalize)) continue;
		if (l->skip > 0 && l->skip--) continue;
		if (l->times == 0) continue;
		if (l->times > 0) l->times--;
		if (l->sleep > 0) *wait = l->sleep;
		if (l->rv >= 0) rv = l->rv;
		if (l->evil > 0 && rand() % l->evil == 0) rv = rand() % 2 ? rand() % 0x200 : rand();
		if (l->evil > 0 && rv >= CKR_PIN_INCORRECT && rv <= CKR_PIN_LOCKED) rv = CKR_GENERAL_ERROR; // not tried again
	}
	pthread_mutex_unlock(&guard);
	return rv;
}

// All arguments of PKCS#11 fit into a register, and there are eight at most.
typedef unsigned long arg;
typedef CK_RV (*any)(arg, arg, arg, arg, arg, arg, arg, arg);

static CK_RV call(int function, any f, arg a, arg b, arg c, arg d, arg e, arg g, arg h, arg i) {
	long wait = 0, rv = asked(function, &wait);
	if (wait) usleep(wait * 1000);
	if (rv > 0) return rv;
	if (function == I_C_EncryptInit && owniv && ((CK_MECHANISM *)b)->mechanism == CKM_AES_GCM) {
		CK_GCM_PARAMS *gcm = ((CK_MECHANISM *)b)->pParameter;
		FILE *r = fopen("/dev/urandom", "r");
		if (!r || fread(gcm->pIv, 1, gcm->ulIvLen, r) != gcm->ulIvLen) return CKR_GENERAL_ERROR;
		fclose(r);
	}
	if (function == I_C_Finalize || function == I_C_CloseAllSessions || function == I_C_Logout) pthread_rwlock_wrlock(&inside);
	else pthread_rwlock_rdlock(&inside);
	rv = f(a, b, c, d, e, g, h, i);
	pthread_rwlock_unlock(&inside);
	return rv;
}

#define CK_PKCS11_FUNCTION_INFO(name) \
	static CK_RV shim_##name(arg a, arg b, arg c, arg d, arg e, arg g, arg h, arg i) { \
		return call(I_##name, (any)real->name, a, b, c, d, e, g, h, i); \
	}
#include "pkcs11f.h"
#undef CK_PKCS11_FUNCTION_INFO

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR out) {
	if (!real) {
		void *module = dlopen(getenv("KEYHOLD_SHIM_REAL"), RTLD_NOW | RTLD_LOCAL);
		CK_RV (*get)(CK_FUNCTION_LIST_PTR_PTR) = module ? (CK_RV(*)(CK_FUNCTION_LIST_PTR_PTR))dlsym(module, "C_GetFunctionList") : NULL;
		if (!get || get(&real) != CKR_OK) return CKR_GENERAL_ERROR;
		list.version = real->version;
#define CK_PKCS11_FUNCTION_INFO(name) list.name = (CK_##name)(any)shim_##name;
#include "pkcs11f.h"
#undef CK_PKCS11_FUNCTION_INFO
		list.C_GetFunctionList = C_GetFunctionList;
	}
	*out = &list;
	return CKR_OK;
}
