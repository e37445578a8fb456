#!/bin/sh
# Emergency rollback with nothing but kubectl, for the day when all else is down: routes first, verified, then scale.
# Safe to run twice, and during a rollout, which notices and ends as rolled back.
set -eu

usage() {
  cat <<'END'
usage: rollback.sh [options]
  --to VERSION        after a promotion: let stable be this version again
  --dry-run           say what would be done, and change nothing
  --gateway-api       the route is an HTTPRoute and not a VirtualService
  --force             route to stable even when none of its pods is ready
  --namespace NAME    default: canary-app
  --service NAME      default: canary-app; Deployments are NAME-VERSION
  --context NAME      default: kubectl's current one
  --replicas N        pods to bring up where stable has none; default: 3
  --wait SECONDS      for those to become ready; default: 120
  --drain SECONDS     between the routes and the scaling down; default: 15, the route's timeout
  --reason TEXT       for the record
exit: 0 all traffic is on stable and the canary is scaled down, 1 not so, 2 wrong options
END
}

namespace=canary-app service=canary-app context='' to='' dry_run='' force='' api=istio replicas=3 wait=120 drain=15
reason="rollback.sh by $(id -un 2>/dev/null || echo someone)"

while [ $# -gt 0 ]; do
  case $1 in
    --dry-run) dry_run=yes; shift; continue ;;
    --gateway-api) api=gateway; shift; continue ;;
    --force) force=yes; shift; continue ;;
    -h | --help) usage; exit 0 ;;
  esac
  [ $# -gt 1 ] || { usage >&2; exit 2; }
  case $1 in
    --to) to=$2 ;;
    --namespace) namespace=$2 ;;
    --service) service=$2 ;;
    --context) context=$2 ;;
    --replicas) replicas=$2 ;;
    --wait) wait=$2 ;;
    --drain) drain=$2 ;;
    --reason) reason=$(printf %s "$2" | tr -d '"\\[:cntrl:]') ;;
    *) usage >&2; exit 2 ;;
  esac
  shift 2
done
case $replicas$wait$drain in *[!0-9]* | '') usage >&2; exit 2 ;; esac

say() { printf '%s\n' "rollback: $*"; }
fail() { say "$*" >&2; exit 1; }
command -v kubectl >/dev/null || fail "kubectl is not on the PATH"
call() { kubectl --request-timeout=5s ${context:+--context="$context"} --namespace="$namespace" "$@"; }
change() { if [ "$dry_run" ]; then say "would: kubectl -n $namespace $*"; else call "$@" >/dev/null; fi; }

if [ $api = istio ]; then
  stable=stable canary=canary route=virtualservices.networking.istio.io/$service
  rules=http entries=route key=destination/subset
  destination='{.destination.host}{"|"}{.destination.subset}'
else
  stable=$service-stable canary=$service-canary route=httproutes.gateway.networking.k8s.io/$service
  rules=rules entries=backendRefs key=name
  destination='{"|"}{.name}'
fi
lines='{"version|"}{.metadata.resourceVersion}{"\n"}{"epoch|"}{.metadata.annotations.canary-pipeline/epoch}{"\n"}'
lines=$lines'{"annotations|"}{.metadata.annotations}{"\n"}'
lines=$lines'{range .spec.'$rules'[*]}{"rule\n"}{range .'$entries'[*]}{"to|"}'$destination'{"|"}{.weight}{"\n"}{end}{end}'
subset_rule=destinationrules.networking.istio.io/$service

version_of() { # a track: the version that gets its traffic
  if [ $api = istio ]; then
    call get "$subset_rule" -o "jsonpath={.spec.subsets[?(@.name==\"$1\")].labels.version}"
  else
    call get "service/$1" -o 'jsonpath={.spec.selector.version}'
  fi
}

ready_pods() { call get "deployment/$service-$1" -o 'jsonpath={.status.readyReplicas}'; }

read_route() { call get "$route" -o "jsonpath=$lines"; }

field() { printf '%s\n' "$1" | awk -F'|' -v name="$2" '$1 == name { print $2; exit }'; } # of a read route, by its name

# Of a read route: each destination of each rule that splits between the tracks, as rule, index, name, weight.
# A rule with one track alone, such as the testers', is no split.
split() {
  printf '%s\n' "$1" | awk -F'|' -v service="$service" -v qualified="$service.$namespace" -v stable="$stable" -v canary="$canary" '
    function flush(k) {
      if (has[stable] && has[canary]) for (k = 0; k < n; k++) print rule - 1, k, name[k], weight[k]
      n = has[stable] = has[canary] = 0
    }
    $1 == "rule" { flush(); rule++ }
    $1 == "to" {
      name[n] = $3; weight[n++] = $4
      if ($2 == "" || $2 == service || $2 == qualified || index($2 ".", qualified ".svc.") == 1) has[$3] = 1
    }
    END { flush() }'
}

share() { if [ "$1" = "$stable" ]; then echo 100; else echo 0; fi; }

on_stable() { # the split: whether it sends everything to stable
  printf '%s\n' "$1" | while read -r _ _ name weight; do
    [ "${weight:-unset}" = "$(share "$name")" ] || exit 1
  done
}

# One patch, valid only for the very document that was read. It also raises the epoch, so that whoever steers a rollout
# can write no more, and leaves the reason for them to find.
patch() { # a read route
  epoch=$(field "$1" epoch)
  printf '[{"op":"test","path":"/metadata/resourceVersion","value":"%s"}' "$(field "$1" version)"
  [ "$(field "$1" annotations)" ] || printf ',{"op":"add","path":"/metadata/annotations","value":{}}'
  printf ',{"op":"add","path":"/metadata/annotations/canary-pipeline~1epoch","value":"%s"}' $((${epoch:-0} + 1))
  printf ',{"op":"add","path":"/metadata/annotations/canary-pipeline~1abort","value":"%s"}' "$reason"
  split "$1" | while read -r rule index name _; do
    entry=/spec/$rules/$rule/$entries/$index
    printf ',{"op":"test","path":"%s","value":"%s"}' "$entry/$key" "$name"
    printf ',{"op":"add","path":"%s","value":%s}' "$entry/weight" "$(share "$name")"
  done
  printf ']'
}

route_to_stable() { # whether it was done, and seen
  found=$(read_route) || return 1
  [ "$(split "$found")" ] ||
    fail "$route has no rule that splits between $stable and $canary; apply istio/virtual-service-rollback.yaml"
  change patch "$route" --type=json --patch="$(patch "$found")" || return 1
  [ "$dry_run" ] || { found=$(read_route) && on_stable "$(split "$found")"; }
}

point_stable_at() { # a version: whether it was done, and seen
  if [ $api = istio ]; then
    names=$(call get "$subset_rule" -o 'jsonpath={range .spec.subsets[*]}{.name}{"\n"}{end}') || return 1
    index=$(printf '%s\n' "$names" | awk '$1 == "stable" { print NR - 1 }')
    [ "$index" ] || fail "$subset_rule has no subset stable"
    selected=$subset_rule at=/spec/subsets/$index/labels/version
    test="{\"op\":\"test\",\"path\":\"/spec/subsets/$index/name\",\"value\":\"stable\"},"
  else
    selected=service/$stable at=/spec/selector/version test=''
  fi
  change patch "$selected" --type=json --patch="[$test{\"op\":\"add\",\"path\":\"$at\",\"value\":\"$1\"}]" || return 1
  [ "$dry_run" ] || [ "$(version_of "$stable")" = "$1" ]
}

bring_up() { # a version whose pods have to serve; what cannot be seen does not hold up the routes
  ready=$(ready_pods "$1") || { say "cannot see the pods of $1; going on"; return 0; }
  [ "${ready:-0}" -eq 0 ] || return 0
  say "no pod of $1 is ready: bringing up $replicas"
  persist change scale "deployment/$service-$1" --replicas="$replicas"
  if [ "$dry_run" ] || became_ready "$1"; then return 0; fi
  [ "$force" ] || fail "no pod of $1 became ready; no route was changed (--force: route to it all the same)"
}

became_ready() { # a version: whether its new pods did in time. A look a second needs only the right to get
  waited=0
  until ready=$(ready_pods "$1") && [ "${ready:-0}" -ge "$replicas" ]; do
    [ $waited -lt "$wait" ] || return 1
    waited=$((waited + 1))
    sleep 1
  done
}

scale_down() { # a version, where it has a Deployment
  found=$(call get "deployment/$service-$1" --ignore-not-found -o name) || return 1
  [ -z "$found" ] || change scale "deployment/$service-$1" --replicas=0
}

persist() { # a command: try until it succeeds, for as long as someone who waits would
  tries=0
  until "$@"; do
    tries=$((tries + 1))
    [ $tries -lt 10 ] || fail "gave up after $tries tries: $*"
    sleep 1
  done
}

was=$(version_of "$stable") || was=''
leaving=$(version_of "$canary") || leaving=''
keep=${to:-$was}
if [ "$keep" ]; then bring_up "$keep"; else say "cannot tell which version $stable is: only routes are changed"; fi

persist route_to_stable
if [ "$to" ]; then persist point_stable_at "$to"; fi
[ "$dry_run" ] || say "all live traffic of $namespace/$service is on stable${keep:+, which is $keep}"

done_with=
for version in ${keep:+$leaving $was}; do
  case " $keep $done_with " in *" $version "*) continue ;; esac
  [ "$dry_run" ] || [ "$done_with" ] || sleep "$drain"
  done_with="$done_with $version"
  persist scale_down "$version"
  [ "$dry_run" ] || say "$service-$version is scaled to 0"
done
[ "$keep" ] || exit 1
