# Completion of drover for bash. The words come from the program itself.
_drover()
{
	local IFS=$'\n'
	# shellcheck disable=SC2207
	COMPREPLY=($("${COMP_WORDS[0]}" completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _drover drover
