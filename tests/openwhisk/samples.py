"""Messages as Controllers and invokers of OpenWhisk 1.0 and 2.0 write them, word for word."""

from __future__ import annotations

ACTIVATION_ID = "44794bd6aab74415b4e42a308d880e5b"

ACTIVATION_1_0 = (
    b'{"transid":["o8Hj2ZbhfVOQPT9Nm1Tn5Ff7cRgVS5kQ",1573724400123],'
    b'"action":{"path":"guest","name":"hello","version":"0.0.1"},"revision":"1-967a00dff5e02add41819138abb3284d",'
    b'"user":{"subject":"guest","namespace":{"name":"guest","uuid":"23bc46b1-71f6-4ed5-8c54-816aa4f8c502"},'
    b'"authkey":{"api_key":"23bc46b1-71f6-4ed5-8c54-816aa4f8c502:123zO3xZCLrMN6v2BKK1dXYFpXlPkccOFqm12CdAsMgRU4V"},'
    b'"rights":["READ","PUT","DELETE","ACTIVATE"],"limits":{}},'
    b'"activationId":"44794bd6aab74415b4e42a308d880e5b",'
    b'"rootControllerIndex":{"asString":"0","instanceType":"controller"},"blocking":true,"content":{"name":"Jo"}}'
)

ACTIVATION_2_0 = (
    b'{"transid":["sid_unique",1636982400456,true,["parent",1636982400000]],'
    b'"action":{"path":"guest/tools","name":"hello","version":"0.0.2","binding":"other/tools"},"revision":null,'
    b'"user":{"subject":"guest","namespace":{"name":"guest","uuid":"23bc46b1-71f6-4ed5-8c54-816aa4f8c502"},'
    b'"authkey":{},"rights":["ACTIVATE"],"limits":{"invocationsPerMinute":60,"concurrentInvocations":30,'
    b'"firesPerMinute":60,"allowedKinds":["nodejs:14"],"storeActivations":false,"minActionMemory":128,'
    b'"maxActionMemory":512,"minActionLogs":0,"maxActionLogs":10,"minActionTimeout":100,"maxActionTimeout":300000,'
    b'"minActionConcurrency":1,"maxActionConcurrency":5,"maxParameterSize":"1048576 B","maxPayloadSize":"1048576 B",'
    b'"truncationSize":"1048576 B","warmedContainerKeepingCount":1,"warmedContainerKeepingTimeout":"1 minute",'
    b'"maxActionInstances":4}},'
    b'"activationId":"44794bd6aab74415b4e42a308d880e5b",'
    b'"rootControllerIndex":{"asString":"controller-1","instanceType":"controller"},"blocking":false,'
    b'"content":[1,"two",{"three":3}],"initArgs":["secret"],"lockedArgs":{"key":"aes-128"},'
    b'"cause":"d3c2c0e5f2b34f2f82c0e5f2b3df2fca","traceContext":{"traceparent":"00-ab-cd-01"}}'
)

HEALTH_TEST = (
    b'{"transid":["sid_invokerHealth",1636982400456],'
    b'"action":{"path":"whisk.system","name":"invokerHealthTestAction0","version":"0.0.1"},"revision":null,'
    b'"user":{"subject":"whisk.system","namespace":{"name":"whisk.system","uuid":"a8a3bd2e"},'
    b'"authkey":{"api_key":"a8a3bd2e:secret"},"rights":[],"limits":{}},'
    b'"activationId":"44794bd6aab74415b4e42a308d880e5b","rootControllerIndex":{"asString":"0",'
    b'"instanceType":"controller"},"blocking":false,"initArgs":[],"lockedArgs":{}}'
)

INVOKER_1_0 = b'{"instance":0,"userMemory":"2048 MB","uniqueName":"u","displayedName":"10.0.0.1"}'
INVOKER_2_0 = (
    b'{"instance":3,"userMemory":"2147483647 MB","busyMemory":"512 MB","instanceType":"invoker",'
    b'"tags":["gpu"],"dedicatedNamespaces":["guest"],"uniqueName":"u","displayedName":"d"}'
)

_TRANSACTION = b'{"transid":["t",1573724400123],'

ACTIVATION = (
    b'{"namespace":"guest","name":"hello","subject":"guest","activationId":"44794bd6aab74415b4e42a308d880e5b",'
    b'"start":1573724401000,"end":1573724401050,"response":{"statusCode":0,"result":{"greeting":"Hello Jo"}},'
    b'"logs":[],"version":"0.0.1","publish":false,"annotations":[{"key":"path","value":"guest/hello"}],"duration":50}'
)

_ID = b'"44794bd6aab74415b4e42a308d880e5b"'
COMBINED_2_0 = _TRANSACTION + b'"response":' + ACTIVATION + b',"isSystemError":false,"instance":' + INVOKER_2_0 + b"}"
COMBINED_SHRUNK = _TRANSACTION + b'"response":' + _ID + b',"isSystemError":false,"instance":' + INVOKER_2_0 + b"}"
COMBINED_1_0 = _TRANSACTION + b'"response":' + ACTIVATION + b',"isSystemError":true,"invoker":' + INVOKER_1_0 + b"}"
COMPLETION_2_0 = _TRANSACTION + b'"activationId":' + _ID + b',"isSystemError":true,"instance":' + INVOKER_2_0 + b"}"
COMPLETION_1_0 = _TRANSACTION + b'"activationId":' + _ID + b',"isSystemError":false,"invoker":' + INVOKER_1_0 + b"}"
RESULT = _TRANSACTION + b'"response":' + ACTIVATION + b"}"
RESULT_SHRUNK = _TRANSACTION + b'"response":' + _ID + b"}"

PING_1_0 = b'{"name":' + INVOKER_1_0 + b"}"
PING_2_0 = b'{"name":' + INVOKER_2_0 + b',"isEnabled":true}'

EVENT = (
    b'{"source":"invoker0","body":{"name":"guest/hello","activationId":"44794bd6aab74415b4e42a308d880e5b",'
    b'"statusCode":0,"duration":50,"waitTime":3,"initTime":0,"kind":"nodejs:14","conductor":false,"memory":256,'
    b'"causedBy":"sequence","size":24,"userDefinedStatusCode":418},"subject":"guest","namespace":"guest",'
    b'"userId":"23bc46b1-71f6-4ed5-8c54-816aa4f8c502","eventType":"Activation","timestamp":1573724401060}'
)
